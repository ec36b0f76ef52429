//! Turns a filter into an SQL condition. Reads the definitions of the custom attributes in the filter, and probes whether the filter is
//! selective.

use std::collections::HashSet;

use parley_storage::{
    Dialect,
    entity::{
        contact, conversation, custom_attribute_definition,
        kind::{AttributeModel, AttributeType},
    },
};
use parley_types::{
    error::{Error, Result},
    id::AccountId,
    time::Micros,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::{Expr, SelectStatement},
};

use super::{
    Context, Definition, Display, Model, RequestedCondition, read,
    selectivity::{among, are_few},
};

/// The maximum number of subqueries in one selectivity probe.
const MOST_LOOKUPS: usize = 16;

/// Returns the SQL condition for a filter, and whether the filter is selective. If it is, the condition also restricts the ids to the
/// results of index lookups, because looking up the matches and sorting them is cheaper than scanning in the order of the list.
///
/// # Errors
/// [`Error::Invalid`] for an invalid filter, with its violations in the order in which Chatwoot reports them; [`Error::Database`] or
/// [`Error::Unavailable`] if a query fails.
pub(crate) async fn resolve(
    db: &impl ConnectionTrait,
    account: AccountId,
    model: Model,
    given: &[RequestedCondition],
) -> Result<(Condition, bool)> {
    let context = Context {
        model,
        account,
        dialect: Dialect::of(db),
        now: Micros::now(),
    };
    let definitions = defined(db, account, model, given).await?;
    let filter = read(&context, given, &definitions).map_err(Error::Invalid)?;
    // The filter is selective if each alternative, as separated by OR, has at least one selective condition.
    let most = MOST_LOOKUPS / filter.lookups.len().max(1);
    let lookups: Vec<_> = filter.lookups.iter().map(|group| &group[..group.len().min(most)]).collect();
    if lookups.iter().any(|group| group.is_empty()) {
        return Ok((filter.condition, false));
    }
    let all = lookups.concat();
    let mut are_few = are_few(db, &all).await?.into_iter();
    let mut few_of = |group: &[SelectStatement]| {
        let found = group.iter().zip(are_few.by_ref()).filter(|(_, are_few)| *are_few);
        found.map(|(lookup, _)| lookup.clone()).last()
    };
    let Some(looked_up) = lookups.into_iter().map(&mut few_of).collect::<Option<Vec<_>>>() else {
        return Ok((filter.condition, false));
    };
    let id = match model {
        Model::Contact => Expr::col((contact::Entity, contact::Column::Id)),
        Model::Conversation => Expr::col((conversation::Entity, conversation::Column::Id)),
    };
    let among = among(context.dialect, id, &looked_up);
    Ok((Condition::all().add(among).add(filter.condition), true))
}

/// Loads the definitions of the custom attributes that the conditions test.
async fn defined(db: &impl ConnectionTrait, account: AccountId, model: Model, given: &[RequestedCondition]) -> Result<Vec<Definition>> {
    let of = match model {
        Model::Conversation => AttributeModel::Conversation,
        Model::Contact => AttributeModel::Contact,
    };
    let keys: HashSet<&str> = given.iter().map(|condition| condition.key.as_str()).collect();
    let rows = custom_attribute_definition::Entity::find()
        .filter(custom_attribute_definition::Column::AccountId.eq(account))
        .filter(custom_attribute_definition::Column::Model.eq(of))
        .filter(custom_attribute_definition::Column::Key.is_in(keys))
        .all(db)
        .await?;
    let definition_of = |row: custom_attribute_definition::Model| Definition {
        key: row.key,
        display: match row.display_type {
            AttributeType::Text | AttributeType::Link | AttributeType::List => Display::Text,
            AttributeType::Number | AttributeType::Currency | AttributeType::Percent => Display::Number,
            AttributeType::Date => Display::Date,
            AttributeType::Checkbox => Display::Checkbox,
        },
    };
    Ok(rows.into_iter().map(definition_of).collect())
}
