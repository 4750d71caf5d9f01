//! What was answered.

use serde_json::Value;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON, not {:?}", self.body))
    }

    pub(crate) fn token(&self) -> String {
        self.json()["token"].as_str().unwrap_or_else(|| panic!("a token in {}", self.body)).to_owned()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The headers but `Date`, and but for the text of the request's own id, in order of their names.
    fn lasting_headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap()))
            .map(
                |(name, value)| {
                    if name == "x-request-id" { (name, "x".repeat(value.len())) } else { (name, value.to_owned()) }
                },
            )
            .collect();
        headers.sort();
        headers
    }

    /// Status, headers and body, byte for byte.
    pub(crate) fn whole(&self) -> (u16, Vec<(String, String)>, String) {
        (self.status, self.lasting_headers(), self.body.clone())
    }

    /// Everything but the token's own text.
    pub(crate) fn shape(&self) -> (u16, Vec<(String, String)>, String) {
        let body = match self.json()["token"].as_str() {
            Some(token) => self.body.replace(token, &"x".repeat(token.len())),
            None => self.body.clone(),
        };
        (self.status, self.lasting_headers(), body)
    }
}
