//! Invalid tokens, and tokens of other accounts, with every method of the contract, including streams.

use futures_util::StreamExt as _;
use parley_proto::{CreateTokenRequest, RevokeTokenRequest, Role};
use prost_reflect::MethodDescriptor;
use tonic::Code;

use super::{add_agent, create, from_now, of_user, secret, service, service_clients};
use crate::{
    roles::ask,
    support::{
        app::TestApp,
        clients::Clients,
        database::Backend,
        fault::assert_refused,
        office::{other_account, worker},
        on_both,
    },
};

on_both!(
    expired_and_revoked_tokens_give_no_access,
    token_of_one_account_gives_no_access_to_another,
    service_cannot_create_a_user_token
);

/// Whether a method needs a token in its metadata.
fn needs_token(call: &MethodDescriptor) -> bool {
    let name = ask::name(call);
    let by_itself = [
        "ClientService.",
        "PubsubService.",
        "LoginsService.RedeemLogin",
        "FilesService.GetFileLink",
        "FilesService.DownloadFile",
    ];
    !by_itself.iter().any(|calls| name.starts_with(calls))
}

/// The calls that are not refused with one of these codes.
async fn not_refused(clients: &Clients, calls: Vec<MethodDescriptor>, codes: &[Code]) -> Vec<String> {
    let answers = futures_util::stream::iter(calls).map(|call| async move {
        let code = ask::ask(clients, &call).await.err().map(|status| status.code());
        let refused = code.is_some_and(|code| codes.contains(&code));
        (!refused).then(|| format!("{} was answered {code:?}", ask::name(&call)))
    });
    answers.buffer_unordered(8).filter_map(std::future::ready).collect().await
}

async fn expired_and_revoked_tokens_give_no_access(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    app.fixture().talk().await;
    let request = CreateTokenRequest {
        expires_at: Some(from_now(2)),
        ..of_user(1)
    };
    let expired = app.clients_with(&secret(&app.platform(), request).await);
    let revoked = create(&app.platform(), service(false, vec![])).await.expect("a token");
    // Use both once, so that they are cached.
    for clients in [&expired, &app.clients_with(&revoked.secret)] {
        let list = parley_proto::ListAccountsRequest::default();
        clients.accounts.clone().list_accounts(list).await.expect("it is good for now");
    }
    let revoke = RevokeTokenRequest {
        token_id: revoked.token.expect("always set").id,
        ..RevokeTokenRequest::default()
    };
    app.platform().accounts.revoke_token(revoke).await.expect("revoked");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let calls: Vec<_> = ask::calls().into_iter().filter(needs_token).collect();
    assert!(calls.len() > 100);
    for (what, clients) in [("expired", expired), ("revoked", app.clients_with(&revoked.secret))] {
        let open = not_refused(&clients, calls.clone(), &[Code::Unauthenticated]).await;
        assert!(open.is_empty(), "{what}: {open:#?}");
    }
}

async fn token_of_one_account_gives_no_access_to_another(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    app.fixture().talk().await;
    let other = other_account(&app, "Other").await;
    let both = worker(&app, other.account, Role::Administrator, "Both").await.user;
    super::members::join(&app, 1, both, Role::Administrator).await;
    let request = CreateTokenRequest {
        account_id: Some(other.account),
        ..of_user(both)
    };
    let limited = app.clients_with(&secret(&app.platform(), request).await);
    let names_account = |call: &MethodDescriptor| {
        let input = call.input();
        let account = input.get_field_by_name("account_id");
        // CreateToken validates its request before the account, and the generated request names both a user and a bot.
        account.is_some() && needs_token(call) && call.name() != "CreateToken"
    };
    let calls: Vec<_> = ask::calls().into_iter().filter(names_account).collect();
    assert!(calls.len() > 80);
    let open = not_refused(&limited, calls.clone(), &[Code::PermissionDenied, Code::NotFound]).await;
    assert!(open.is_empty(), "{open:#?}");
    // Without the limit, the same user has access.
    let whole = app.clients_with(&secret(&app.platform(), of_user(both)).await);
    assert!(
        !not_refused(&whole, calls, &[Code::PermissionDenied, Code::NotFound])
            .await
            .is_empty()
    );
}

/// A service may do what an administrator may do in the account, but it cannot act as a person.
async fn service_cannot_create_a_user_token(backend: Backend) {
    for switch in ["", "token_limits"] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let member = add_agent(&app, "member@example.org", "Member").await.id;
        let machine = service_clients(&app, false, vec![]).await;
        for user in [1, member] {
            for account_id in [None, Some(1)] {
                let request = CreateTokenRequest {
                    account_id,
                    ..of_user(user)
                };
                let made = create(&machine, request).await;
                if switch.is_empty() {
                    assert_refused(made, Code::PermissionDenied, "NOT_ALLOWED");
                } else {
                    made.expect("without the protection it becomes a person");
                }
            }
        }
        create(&machine, service(false, vec![])).await.expect("a token of a service");
        create(&app.clients(), of_user(member)).await.expect("the administrator creates it");
    }
}
