//! A person resets a password.

use serde_json::json;

use crate::support::world::{PATH, World};

#[tokio::test]
async fn a_password_is_reset_from_the_first_request_to_the_last() {
    let world = World::usual().await;

    let opening = world.get(PATH).await;
    assert_eq!(opening.status, 200);
    assert_eq!(
        opening.json(),
        json!({
            "type": "parameters",
            "tag": "initial",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Parameters",
                "type": "object",
                "properties": {"returnParams": {"description": "Parameter named 'returnParams'", "type": "string"}},
            },
        })
    );

    let first = world.post(&json!({"input": {"returnParams": "goto=here"}})).await;
    let token = first.token();
    assert_eq!(
        first.json(),
        json!({
            "type": "userQuery",
            "tag": "initial",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Find your account",
                "type": "object",
                "required": ["queryFilter"],
                "properties": {"queryFilter": {"description": "filter string to find account", "type": "string"}},
            },
            "token": token,
        })
    );

    let second = world.query_with(&token, "bjensen").await;
    assert_eq!(
        second.json(),
        json!({
            "type": "emailValidation",
            "tag": "validateCode",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Verify emailed code",
                "type": "object",
                "required": ["code"],
                "properties": {"code": {"description": "Enter code emailed", "type": "string"}},
            },
            "token": second.token(),
        })
    );

    let mail = world.mail(1).await;
    assert_eq!(mail.to, ["bjensen@example.com"]);
    let (token, code) = world.mailed(1).await;
    let third = world.show(&token, &code).await;
    assert_eq!(
        third.json(),
        json!({
            "type": "resetStage",
            "tag": "initial",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Reset password",
                "type": "object",
                "required": ["password"],
                "properties": {"password": {"description": "Password", "type": "string"}},
            },
            "token": third.token(),
        })
    );

    let last = world.set(&third.token(), "Fresh-Pass1").await;
    assert_eq!(
        last.json(),
        json!({
            "type": "resetStage",
            "tag": "end",
            "status": {"success": true},
            "additions": {"returnParams": "goto=here"},
        })
    );
    assert!(world.store.password_is("bjensen", "Fresh-Pass1"));
    assert!(!world.store.password_is("bjensen", "Secret12"));
    assert_eq!((world.store.patches(), world.mailbox.mails().len()), (1, 1));
    assert_eq!(world.store.stock_reset_hits(), 0);
}
