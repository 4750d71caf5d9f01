//! The stages of a reset, one file each, with their settings.

pub mod captcha;
pub mod email_validation;
pub mod kba;
pub mod kba_alone;
pub mod parameters;
pub mod reset_stage;
pub mod user_query;
pub mod validate_active_account;
