//! Deleting accounts and users: they disappear at once, and their rows and files are removed soon after.

use std::collections::BTreeSet;

use parley_proto::{
    AttachmentDraft, CreateContactRequest, DeleteAccountRequest, DeleteUserRequest, GetAccountRequest, GetUserRequest, ListAccountsRequest,
    ListMembersRequest, MessageDraft, Role, SubscribeRequest, UploadFileRequest, attachment_draft::Kind,
    files_service_client::FilesServiceClient, upload_file_request::Part,
};
use prost_types::Struct;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tonic::Code;

use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    fault::assert_refused,
    office::{other_account, worker},
    on_both,
    reader::whole_log,
};

on_both!(deleted_account_leaves_no_rows_or_files, messages_of_a_deleted_user_remain);

async fn rows(database: &Database, sql: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match database {
        Database::Sqlite(_) => {
            let mut connection = SqliteConnection::connect(&database.url()).await.expect("the file is there");
            sqlx::query(sql).fetch_one(&mut connection).await.expect("it can be read").get(0)
        }
        Database::Postgres { url, .. } => {
            let mut connection = sqlx::PgConnection::connect(url).await.expect("it is there");
            sqlx::query(sql).fetch_one(&mut connection).await.expect("it can be read").get(0)
        }
    }
}

async fn deleted_account_leaves_no_rows_or_files(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Acme").await;
    let account_id = other.account;
    let talk = other.talk().await;
    for _ in 0..30 {
        other.hear(talk, "hello").await;
    }
    let pieces = vec![
        UploadFileRequest {
            account_id,
            part: Some(Part::Header(parley_proto::FileHeader::default())),
        },
        UploadFileRequest {
            account_id,
            part: Some(Part::Chunk(vec![1, 2, 3].into())),
        },
    ];
    let stored = FilesServiceClient::new(other.clients.service.clone())
        .upload_file(tokio_stream::iter(pieces))
        .await
        .expect("it is stored")
        .into_inner();
    let draft = MessageDraft {
        attachments: vec![AttachmentDraft {
            kind: Some(Kind::UploadId(stored.file.expect("always set").upload_id)),
        }],
        ..MessageDraft::default()
    };
    other.send(talk, draft).await.expect("it is sent");
    let fields = [("city".to_owned(), "Porto".to_owned().into())].into();
    let request = CreateContactRequest {
        account_id,
        additional_attributes: Some(Struct { fields }),
        ..CreateContactRequest::default()
    };
    other.clients.contacts.clone().create_contact(request).await.expect("it is made");
    let mine = app.fixture();
    let kept = mine.talk().await;
    mine.hear(kept, "mine").await;

    let request = DeleteAccountRequest {
        account_id,
        ..DeleteAccountRequest::default()
    };
    let refused = app.clients().accounts.clone().delete_account(request.clone()).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
    let operator = app.platform();
    operator
        .accounts
        .clone()
        .delete_account(request.clone())
        .await
        .expect("it is deleted");

    let again = operator.accounts.clone().delete_account(request).await;
    assert_refused(again, Code::NotFound, "NOT_FOUND");
    let found = operator.accounts.clone().get_account(GetAccountRequest { account_id }).await;
    assert_refused(found, Code::NotFound, "NOT_FOUND");
    let list = operator.accounts.clone().list_accounts(ListAccountsRequest::default()).await;
    let list = list.expect("it answers").into_inner().accounts;
    assert_eq!(list.iter().map(|account| account.id).collect::<Vec<_>>(), [1]);
    assert!(other.send(talk, MessageDraft::default()).await.is_err());
    let request = SubscribeRequest {
        account_id,
        ..SubscribeRequest::default()
    };
    assert!(other.clients.events.clone().subscribe(request).await.is_err());

    // All rows of the account are removed, and no others.
    let of_it = |table: &str| format!("SELECT count(*) FROM {table} WHERE account_id = {account_id}");
    for _ in 0..300 {
        if rows(&app.database, &format!("SELECT count(*) FROM accounts WHERE id = {account_id}")).await == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        rows(&app.database, &format!("SELECT count(*) FROM accounts WHERE id = {account_id}")).await,
        0
    );
    for table in parley_domain::people::removal::TABLES
        .into_iter()
        .chain(["attachments", "attribute_values"])
    {
        assert_eq!(rows(&app.database, &of_it(table)).await, 0, "{table}");
    }
    assert!(!whole_log(&app.clients(), 1).await.is_empty());
    assert_eq!(std::fs::read_dir(app.home().join("files")).map_or(0, Iterator::count), 0);
}

async fn messages_of_a_deleted_user_remain(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let agent = worker(&app, 1, Role::Administrator, "Mina").await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let said = fixture.through(agent.clients.clone()).say(talk, "on its way").await;
    let request = DeleteUserRequest {
        user_id: agent.user,
        ..DeleteUserRequest::default()
    };
    let refused = app.clients().accounts.clone().delete_user(request.clone()).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
    let operator = app.platform();
    operator.accounts.clone().delete_user(request.clone()).await.expect("it is deleted");
    let again = operator.accounts.clone().delete_user(request).await;
    assert_refused(again, Code::NotFound, "NOT_FOUND");
    let found = operator.accounts.clone().get_user(GetUserRequest { user_id: agent.user }).await;
    assert_refused(found, Code::NotFound, "NOT_FOUND");
    let request = ListMembersRequest {
        account_id: 1,
        ..ListMembersRequest::default()
    };
    let members = operator.accounts.clone().list_members(request).await;
    let members = members.expect("it answers").into_inner();
    assert!(members.agents.iter().all(|member| member.id != agent.user));
    assert!(fixture.through(agent.clients).send(talk, MessageDraft::default()).await.is_err());
    let (_, shown) = app.http().ask(&format!("/conversations/{talk}/messages")).await;
    let shown = &shown["payload"][0];
    assert_eq!((&shown["id"], &shown["content"]), (&said.id.into(), &"on its way".into()));
    assert_eq!(shown.get("sender"), None);
}

#[tokio::test]
async fn account_deletion_covers_every_table() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut connection = SqliteConnection::connect(&app.database.url()).await.expect("the file is there");
    let sql = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'account_id' WHERE m.type = 'table'";
    let found = sqlx::query(sql).fetch_all(&mut connection).await.expect("it can be read");
    let found: BTreeSet<String> = found.iter().map(|row| row.get(0)).collect();
    let mut known: BTreeSet<String> = parley_domain::people::removal::TABLES.iter().map(ToString::to_string).collect();
    known.extend(["attachments", "attribute_values"].map(str::to_owned));
    assert_eq!(found, known);
}
