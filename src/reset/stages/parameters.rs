//! `parameters`: takes what the caller wants back at the end, such as `returnParams`.

use std::borrow::Cow;

use async_trait::async_trait;

use crate::reset::{
    error::Stop,
    flow::{Flow, Tag},
    process::Reader,
    stage::{Cx, Next, Stage},
    wire::{self, Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "parameters";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which inputs are kept.
    pub names: Vec<String>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let names = reader.texts("parameterNames")?;
        if names.len() > MAX_NAMES || names.iter().any(|name| name.len() > MAX_NAME) {
            reader.fault("parameterNames", "must be at most 8 names of at most 32 bytes, for tokens carry them");
            return None;
        }
        Some(Self { names })
    }
}

const MAX_NAMES: usize = 8;
const MAX_NAME: usize = 32;
/// All values together, in bytes.
const MAX_VALUES: usize = 1024;

/// The stage.
pub struct Parameters(pub Settings);

#[async_trait]
impl Stage for Parameters {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, _: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        let names = &self.0.names;
        let descriptions: Vec<_> = names.iter().map(|name| format!("Parameter named '{name}'")).collect();
        let properties: Vec<_> =
            names.iter().map(String::as_str).zip(descriptions.iter().map(String::as_str)).collect();
        Ok(Some(Requirements::of(&wire::requirements("Parameters", &[], &properties))))
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, _: &Cx<'_>) -> Result<Next, Stop> {
        if !input.is_object() {
            return Err(Stop::bad("/input: Expecting a java.util.Map"));
        }
        let mut room = MAX_VALUES;
        for name in &self.0.names {
            if let Some(value) = input.text(name)? {
                let left = room.checked_sub(value.len());
                room = left.ok_or_else(|| Stop::Bad(Cow::Owned(format!("/input/{name}: Value is too long"))))?;
                flow.state.additions.insert(name.clone(), value.to_owned());
            }
        }
        Ok(Next::Done)
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        self.0.names.iter().map(String::as_str).collect()
    }
}
