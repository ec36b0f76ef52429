//! Sending mails by SMTP. Knows texts and addresses, and nothing of what they mean.

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use parley_types::error::{Error, Result};

/// How long the server of mails may take for each answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where mails go.
#[derive(Clone)]
pub struct Config {
    /// `smtp://` or `smtps://` with user, password, host and port; `?tls=required` for STARTTLS. Empty: nowhere.
    pub url: String,
    /// Who sends them, such as `Parley <no-reply@example.org>`.
    pub from: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Config").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Sends mails. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// A sender of mails, which connects when there is one to send. None: there is no server to give them to.
    ///
    /// # Errors
    /// When the URL or the sender's address cannot be read.
    pub fn new(config: &Config) -> anyhow::Result<Option<Self>> {
        if config.url.is_empty() {
            return Ok(None);
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.url).context("mail.url")?;
        Ok(Some(Self {
            transport: transport.timeout(Some(PATIENCE)).build(),
            from: config.from.parse().context("mail.from")?,
        }))
    }

    /// Connects to the server and says who we are, as before a mail, and leaves again.
    ///
    /// # Errors
    /// A sentence, when the server cannot be reached or does not let us in.
    pub async fn greet(&self) -> Result<(), String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not answer as a server of mails does".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Hands a mail to the server.
    ///
    /// # Errors
    /// [`Error::Precondition`] for what will never be taken: an address that is none, or a lasting refusal; [`Error::Unavailable`] for
    /// what may be taken later.
    pub async fn send(&self, to: &str, subject: &str, body: String) -> Result<()> {
        let to: Mailbox = to.parse().map_err(|_| Error::Precondition("the address cannot be written to"))?;
        let mail = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|error| Error::Internal(format!("a mail: {error}")))?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => {
                tracing::warn!(%error, "a mail was refused for good");
                Err(Error::Precondition("the server of mails refused it"))
            }
            Err(error) => {
                tracing::warn!(%error, "a mail could not be sent now");
                Err(Error::Unavailable {
                    reason: "the server of mails cannot be reached",
                    retry_after: Duration::from_mins(1),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_url_there_is_no_mailer_and_bad_ones_are_told() {
        let new = |url: &str, from: &str| {
            Mailer::new(&Config {
                url: url.to_owned(),
                from: from.to_owned(),
            })
        };
        let from = "Parley <no-reply@example.org>";
        assert!(new("", "").unwrap().is_none());
        assert!(new("smtp://user:secret@mail.example.org:587?tls=required", from).unwrap().is_some());
        for (url, from) in [("ftp://x", from), ("smtp://localhost", "nobody")] {
            assert!(new(url, from).is_err(), "{url} {from}");
        }
    }
}
