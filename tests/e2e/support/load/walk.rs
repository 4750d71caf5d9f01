//! Clients that reset passwords: a person each, a whole flow after the other, with the mail in between.

use std::sync::Arc;

use resetgate::demo::store::User;
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use super::{Ask, Client, Tally};
use crate::support::{
    PATIENCE,
    setup::{Around, PATH, link},
};

/// One in so many clients.
const ONE_IN: usize = 40;

pub(crate) struct Walker {
    name: String,
    around: Arc<Around>,
}

/// For so many clients, some of whom walk.
pub(crate) fn walkers(around: &Arc<Around>, clients: usize) -> Vec<Option<Walker>> {
    (0..clients)
        .map(|client| {
            (client % ONE_IN == 0).then(|| {
                let name = format!("walker-{client}");
                let user = User::new(&name, &name, "Passw0rd-first").with("mail", format!("{name}@example.com"));
                around.store.insert(user.with("givenName", "W").with("sn", "Alker"));
                Walker { name, around: Arc::clone(around) }
            })
        })
        .collect()
}

impl Walker {
    pub(super) async fn walk(self, mut client: Client, tally: Arc<Tally>, until: watch::Receiver<bool>) {
        let mut last_mail = 0;
        for turn in 0.. {
            if *until.borrow() {
                return;
            }
            let password = format!("Passw0rd-{turn}");
            if let Err(why) = self.reset(&mut client, &password, &mut last_mail).await {
                tally.fails(&self.name, format!("turn {turn}: {why}"));
                return;
            }
            tally.walked();
        }
    }

    async fn reset(&self, client: &mut Client, password: &str, last_mail: &mut u64) -> Result<(), String> {
        let begun = post(client, json!({"input": {}})).await?;
        let filter = format!("userName eq \"{}\"", self.name);
        post(client, json!({"token": begun["token"], "input": {"queryFilter": filter}})).await?;
        let mailed = timeout(PATIENCE, self.mail(last_mail)).await;
        let (token, code) = mailed.map_err(|_| "no mail in time")?;
        let shown = post(client, json!({"token": token, "input": {"code": code}})).await?;
        let set = post(client, json!({"token": shown["token"], "input": {"password": password}})).await?;
        if set["status"]["success"] != json!(true) || !self.around.store.password_is(&self.name, password) {
            return Err(format!("not set: {set}"));
        }
        Ok(())
    }

    /// Token and code of the next mail with a link to this person.
    async fn mail(&self, last: &mut u64) -> (String, String) {
        let address = format!("{}@example.com", self.name);
        let mut count = 0;
        loop {
            let mails = self.around.mailbox.mails();
            if let Some(mail) =
                mails.iter().find(|mail| mail.number > *last && mail.to == [&*address] && !mail.links.is_empty())
            {
                *last = mail.number;
                return link(&mail.links[0]);
            }
            count = mails.last().map_or(count, |mail| mail.number);
            self.around.mailbox.arrived(count + 1).await;
        }
    }
}

async fn post(client: &mut Client, body: Value) -> Result<Value, String> {
    let ask = Ask::post(format!("{PATH}?_action=submitRequirements"), body.to_string());
    match client.ask(&ask).await {
        Some(answer) => Ok(answer.json()),
        None => Err("a step failed".into()),
    }
}
