//! Sends e-mails by SMTP. Callers provide the subject and the body.

use std::time::Duration;

use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use parley_types::error::{Error, Result};

/// The timeout for each reply from the mail server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Configures the mail server to use and the sender of the e-mails.
#[derive(Clone)]
pub struct Config {
    /// The mail server as an `smtp://` or `smtps://` URL with user, password, host and port; `?tls=required` requires STARTTLS. If empty,
    /// no e-mails are sent.
    pub url: String,
    /// The sender, such as `Parley <no-reply@example.org>`.
    pub from: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Omit the URL, which can contain a password.
        f.debug_struct("Config").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Sends e-mails. Clones share the connections to the mail server.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Creates a mailer, which connects when it sends the first e-mail. Returns `None` if no mail server is configured.
    ///
    /// # Errors
    /// Returns an error if the URL or the sender's address is malformed.
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

    /// Connects to the server and disconnects, to check the configuration.
    ///
    /// # Errors
    /// Returns a message for the operator if the server cannot be reached or rejects the login.
    pub async fn greet(&self) -> Result<(), String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the server does not respond like an SMTP server".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends an e-mail.
    ///
    /// # Errors
    /// Returns [`Error::Precondition`] if a retry cannot succeed, because the address is malformed or the server permanently rejected the
    /// e-mail, and [`Error::Unavailable`] if a later retry could succeed.
    pub async fn send(&self, to: &str, subject: &str, body: String) -> Result<()> {
        let to: Mailbox = to.parse().map_err(|_| Error::Precondition("the recipient's address is invalid"))?;
        let mail = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|error| Error::Internal(format!("failed to build an email: {error}")))?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => {
                tracing::warn!(%error, "the mail server permanently rejected an email");
                Err(Error::Precondition("the mail server rejected the email"))
            }
            Err(error) => {
                tracing::warn!(%error, "failed to send an email (temporary failure)");
                Err(Error::Unavailable {
                    reason: "the mail server is unavailable",
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
    async fn empty_url_disables_mail_and_invalid_settings_are_rejected() {
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
