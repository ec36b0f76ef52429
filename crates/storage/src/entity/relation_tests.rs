//! Compares the declared relations with the migrated schema.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::{
    ConnectionTrait as _, EntityTrait, Identity, Iterable as _, JoinType, QuerySelect as _, QueryTrait as _, RelationDef,
    RelationTrait as _,
    sea_query::{ForeignKeyAction, SelectStatement},
};

use super::*;
use crate::{Config, Database};

/// The properties of an entity that these tests compare.
struct Declared {
    module: &'static str,
    table: String,
    /// Each relation, with a query that joins along it.
    relations: Vec<(RelationDef, SelectStatement)>,
}

fn declared<E: EntityTrait>(module: &'static str) -> Declared {
    let joined = |relation: E::Relation| {
        let query = E::find().join(JoinType::LeftJoin, relation.def()).limit(1).into_query();
        (relation.def(), query)
    };
    Declared {
        module,
        table: E::default().table_name().to_owned(),
        relations: E::Relation::iter().map(joined).collect(),
    }
}

macro_rules! declared {
    ($($module:ident),* $(,)?) => { vec![$(declared::<$module::Entity>(stringify!($module))),*] };
}

fn entities() -> Vec<Declared> {
    declared![
        account,
        account_log,
        agent_bot,
        announcement,
        api_channel,
        assignment_turn,
        attachment,
        audit_event,
        canned_response,
        consumer,
        consumer_shard,
        contact,
        contact_inbox,
        contact_merge,
        contact_note,
        conversation,
        conversation_participant,
        custom_attribute_definition,
        erasure,
        event,
        former_member,
        idempotency_key,
        inbox,
        inbox_member,
        label,
        labeling,
        login,
        mail,
        membership,
        message,
        presence,
        secret,
        team,
        team_member,
        token,
        trimmed_event,
        user,
    ]
}

async fn migrated() -> Database {
    let config = Config {
        url: "sqlite::memory:".to_owned(),
        create: true,
        max_connections: 1,
        alone: 0,
        connect_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(5),
    };
    let db = Database::open(&config).await.unwrap();
    db.migrate().await.unwrap();
    db
}

/// Formats a relation as `table(columns) -> table(columns) action`.
fn described((from, from_columns): (&str, &[String]), (to, to_columns): (&str, &[String]), on_delete: &str) -> String {
    format!("{from}({}) -> {to}({}) {on_delete}", from_columns.join(", "), to_columns.join(", "))
}

fn names(columns: Identity) -> Vec<String> {
    columns.into_iter().map(|column| column.to_string()).collect()
}

#[test]
fn every_entity_is_checked() {
    let modules: BTreeSet<&str> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let checked: BTreeSet<&str> = entities().iter().map(|entity| entity.module).collect();
    assert_eq!(checked, modules);
}

#[tokio::test]
async fn joins_along_relations_succeed() {
    let db = migrated().await;
    for entity in entities() {
        for (relation, query) in entity.relations {
            let joined = db.read().query_all(&query).await;
            assert!(joined.is_ok(), "{relation:?}: {joined:?}");
        }
    }
}

/// A relation with several columns joins on all of them.
#[test]
fn composite_keys_join_by_all_columns() {
    let relation = message::Relation::Conversation.def();
    assert_eq!(names(relation.from_col.clone()), ["account_id", "conversation_id"]);
    let query = message::Entity::find().join(JoinType::InnerJoin, relation);
    let sql = query.into_query().to_string(sea_orm::sea_query::SqliteQueryBuilder);
    let (_, condition) = sql.split_once(" ON ").unwrap();
    assert_eq!(
        condition,
        "\"messages\".\"account_id\" = \"conversations\".\"account_id\" AND \"messages\".\"conversation_id\" = \"conversations\".\"id\""
    );
}

#[tokio::test]
async fn relations_match_the_foreign_keys_of_the_schema() {
    let db = migrated().await;
    let (mut declared, mut existing) = (BTreeSet::new(), BTreeSet::new());
    for entity in entities() {
        for (relation, _) in entity.relations {
            if relation.skip_fk {
                continue;
            }
            let on_delete = match relation.on_delete {
                Some(ForeignKeyAction::Cascade) => "CASCADE",
                Some(ForeignKeyAction::SetNull) => "SET NULL",
                other => panic!("{}: {other:?}", entity.module),
            };
            let from = relation.from_tbl.sea_orm_table().to_string();
            let to = relation.to_tbl.sea_orm_table().to_string();
            declared.insert(described(
                (&from, &names(relation.from_col)),
                (&to, &names(relation.to_col)),
                on_delete,
            ));
        }
        let sql = format!(
            "SELECT \"table\", \"from\", \"to\", on_delete FROM pragma_foreign_key_list('{}')",
            entity.table
        );
        // The foreign keys of entities have one column each.
        for row in db.read().query_all_raw(db.dialect().unbound_statement(sql)).await.unwrap() {
            let text = |nth| row.try_get_by_index::<String>(nth).unwrap();
            existing.insert(described((&entity.table, &[text(1)]), (&text(0), &[text(2)]), &text(3)));
        }
    }
    assert_eq!(declared, existing);
}
