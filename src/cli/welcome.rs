//! The message that is printed once, after Parley has initialized an empty database.

use parley_domain::auth::bootstrap::AdministratorToken;

/// Returns the message, with commands to paste. `grpc` and `http` are the bound addresses, in the form `host:port`. In a new database, the
/// first account, inbox and conversation have ID 1. This function is pure: the caller prints the message, once, to standard output.
///
/// A generated token appears once in the message, in the command that sets an environment variable from which the other commands read it. A
/// configured token does not appear.
pub fn welcome(grpc: &str, http: &str, token: &AdministratorToken, inbox_identifier: &str) -> String {
    let about_token = match token {
        AdministratorToken::Generated(token) => {
            format!("The administrator's token, shown only once:\n\n    export PARLEY_TOKEN={token}\n")
        }
        AdministratorToken::Given => {
            "The administrator's token is the configured one (bootstrap.token). The commands below expect it in PARLEY_TOKEN.\n".to_owned()
        }
        AdministratorToken::Stored(file) => format!(
            "The administrator's token is in {}: read it with `export PARLEY_TOKEN=$(parley initial-token)`.\n",
            file.display()
        ),
    };
    let header = "-H \"api-access-token: $PARLEY_TOKEN\" -H 'content-type: application/json'";
    let account = format!("http://{http}/api/v1/accounts/1");
    format!(
        "Parley is running and has initialized the empty database: account 1, an administrator, API inbox 1 ({inbox_identifier}).\n\
         {about_token}\
         \n1. Create a contact, a conversation and a message over REST:\n\
         \n    curl -sS --fail-with-body {account}/contacts {header} -d '{{\"inbox_id\":1,\"name\":\"Ana\",\"source_id\":\"ana-1\"}}' && \
         curl -sS --fail-with-body {account}/conversations {header} -d '{{\"inbox_id\":1,\"source_id\":\"ana-1\"}}' && \
         curl -sS --fail-with-body {account}/conversations/1/messages {header} -d '{{\"content\":\"Hello from JSON\",\"message_type\":\"incoming\"}}'\n\
         \n2. Create another message in the conversation over gRPC:\n\
         \n    grpcurl -plaintext -H \"api-access-token: $PARLEY_TOKEN\" \
         -d '{{\"account_id\":1,\"conversation_id\":1,\"message\":{{\"type\":\"MESSAGE_TYPE_INCOMING\",\"content\":\"Hello from gRPC\"}}}}' \
         {grpc} parley.v1.MessagesService/CreateMessage\n\
         \n3. Stream all past and future events:\n\
         \n    parley tail --server http://{grpc} --from earliest\n\
         \nAll routes of the JSON API: http://{http}/\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_a_single_line() {
        let text = welcome(
            "127.0.0.1:50051",
            "127.0.0.1:8080",
            &AdministratorToken::Generated("secret".to_owned()),
            "inbox-a",
        );
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert_eq!(commands.len(), 4, "{text}");
        assert_eq!(commands[0], "export PARLEY_TOKEN=secret");
        assert_eq!(text.matches("secret").count(), 1, "{text}");
        let curls: Vec<&str> = commands[1].split(" && ").collect();
        assert_eq!(curls.len(), 3);
        for (curl, path) in curls.iter().zip(["contacts", "conversations", "conversations/1/messages"]) {
            assert!(
                curl.starts_with(&format!(
                    "curl -sS --fail-with-body http://127.0.0.1:8080/api/v1/accounts/1/{path} -H "
                )),
                "{curl}"
            );
        }
        for command in &commands[1..3] {
            for body in command.split(" -d '").skip(1).filter_map(|rest| rest.split('\'').next()) {
                serde_json::from_str::<serde_json::Value>(body).unwrap();
            }
        }
        assert!(commands[2].ends_with("127.0.0.1:50051 parley.v1.MessagesService/CreateMessage"));
        assert_eq!(commands[3], "parley tail --server http://127.0.0.1:50051 --from earliest");
        assert!(text.contains("inbox-a"));
    }

    #[test]
    fn configured_and_stored_tokens_are_not_shown() {
        for token in [AdministratorToken::Given, AdministratorToken::Stored("parley.db.token".into())] {
            let text = welcome("g", "h", &token, "inbox-a");
            assert!(!text.contains("shown only once") && text.contains("PARLEY_TOKEN"), "{text}");
        }
    }
}
