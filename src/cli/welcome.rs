//! What a person reads once, when Parley has filled an empty database.

/// The text with three commands to paste. `grpc` and `http` are the addresses taken, `host:port`; on an empty database the
/// first account, inbox and conversation have the id 1. Pure: the caller prints it, once, on standard output.
pub fn welcome(grpc: &str, http: &str, token: &str, inbox_identifier: &str) -> String {
    let header = format!("-H 'api_access_token: {token}' -H 'content-type: application/json'");
    let account = format!("http://{http}/api/v1/accounts/1");
    format!(
        "Parley is running, and this database was empty. Made: account 1, an administrator, API inbox 1 ({inbox_identifier}).\n\
         The administrator's token, shown this once:\n\
         \n    {token}\n\
         \n1. A contact, a conversation and a message, by JSON:\n\
         \n    curl -fsS {account}/contacts {header} -d '{{\"inbox_id\":1,\"name\":\"Ana\",\"source_id\":\"ana-1\"}}' && \
         curl -fsS {account}/conversations {header} -d '{{\"inbox_id\":1,\"source_id\":\"ana-1\"}}' && \
         curl -fsS {account}/conversations/1/messages {header} -d '{{\"content\":\"Hello from JSON\",\"message_type\":\"incoming\"}}'\n\
         \n2. Another message in that conversation, by gRPC:\n\
         \n    grpcurl -plaintext -H 'api_access_token: {token}' \
         -d '{{\"account_id\":1,\"conversation_id\":1,\"message\":{{\"type\":\"MESSAGE_TYPE_INCOMING\",\"content\":\"Hello from gRPC\"}}}}' \
         {grpc} parley.v1.MessagesService/CreateMessage\n\
         \n3. Everything that happened and happens, as a stream:\n\
         \n    parley tail --server http://{grpc} --token {token} --from earliest\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_one_line_that_can_be_pasted() {
        let text = welcome("127.0.0.1:50051", "127.0.0.1:8080", "secret", "inbox-a");
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert_eq!(commands.len(), 4, "{text}");
        assert_eq!(commands[0], "secret");
        let curls: Vec<&str> = commands[1].split(" && ").collect();
        assert_eq!(curls.len(), 3);
        for (curl, path) in curls.iter().zip(["contacts", "conversations", "conversations/1/messages"]) {
            assert!(
                curl.starts_with(&format!("curl -fsS http://127.0.0.1:8080/api/v1/accounts/1/{path} -H ")),
                "{curl}"
            );
        }
        for command in &commands[1..3] {
            for body in command.split(" -d '").skip(1).filter_map(|rest| rest.split('\'').next()) {
                serde_json::from_str::<serde_json::Value>(body).unwrap();
            }
        }
        assert!(commands[2].ends_with("127.0.0.1:50051 parley.v1.MessagesService/CreateMessage"));
        assert_eq!(
            commands[3],
            "parley tail --server http://127.0.0.1:50051 --token secret --from earliest"
        );
        assert!(text.contains("inbox-a"));
    }
}
