//! Parses the names of form and query fields in Rails's syntax: `labels[]=a`, `custom_attributes[plan]=gold`.

use serde_json::{Map, Value as Json};

use crate::params::{
    attributes::DEPTH,
    tree_budget::{TooLarge, TreeBudget, exceeds, take},
};

/// Maximum number of fields in a form or query, as in Rack.
const FIELDS: usize = 4096;

/// Maximum length of a field name in bytes.
const NAME_BYTES: usize = 1024;

/// Why a field was rejected.
#[derive(Debug, PartialEq, Eq)]
pub enum RejectedField {
    /// The name contradicts another name in the form (as in `a=1&a[b]=2`) or is nested too deeply.
    Contradiction,
    /// The form exceeds a limit.
    TooLarge(TooLarge),
}

use RejectedField::Contradiction;

impl From<TooLarge> for RejectedField {
    fn from(limit: TooLarge) -> Self {
        Self::TooLarge(limit)
    }
}

/// The remaining budget for the fields and values of one form.
#[derive(Debug)]
pub struct FormBudget {
    fields: usize,
    tree: TreeBudget,
}

impl Default for FormBudget {
    fn default() -> Self {
        Self {
            fields: FIELDS,
            tree: TreeBudget::default(),
        }
    }
}

enum Step<'a> {
    /// `[key]`: a key of an object.
    Key(&'a str),
    /// `[]`: the next element of a list.
    Next,
}

/// Inserts a value at the path that its field name describes.
///
/// # Errors
/// Returns a [`RejectedField`] if the name is invalid or a limit is exceeded, in which case the map may already contain part of the path.
pub fn put(budget: &mut FormBudget, map: &mut Map<String, Json>, name: &str, value: Json) -> Result<(), RejectedField> {
    budget.fields = take(budget.fields, TooLarge::FIELDS)?;
    check_name(name)?;
    let Some((key, steps)) = split(name) else {
        // Treat unbalanced brackets as part of the name.
        map.insert(name.to_owned(), value);
        return Ok(());
    };
    if steps.len() > DEPTH {
        return Err(Contradiction);
    }
    descend(&mut budget.tree, map.entry(key).or_insert(Json::Null), &steps, value)
}

/// Checks the length of a field's name.
///
/// # Errors
/// Returns [`TooLarge::NAME`] if it is too long.
pub fn check_name(name: &str) -> Result<(), TooLarge> {
    if exceeds(name.len(), NAME_BYTES) {
        return Err(TooLarge::NAME);
    }
    Ok(())
}

fn split(name: &str) -> Option<(&str, Vec<Step<'_>>)> {
    let Some(open) = name.find('[') else {
        return Some((name, Vec::new()));
    };
    let (key, rest) = name.split_at(open);
    if key.is_empty() {
        return None;
    }
    let inner = rest.strip_prefix('[')?.strip_suffix(']')?;
    let steps = inner
        .split("][")
        .map(|step| if step.is_empty() { Step::Next } else { Step::Key(step) })
        .collect();
    Some((key, steps))
}

fn descend(budget: &mut TreeBudget, slot: &mut Json, steps: &[Step<'_>], value: Json) -> Result<(), RejectedField> {
    budget.value()?;
    let Some((step, rest)) = steps.split_first() else {
        if slot.is_object() || slot.is_array() {
            return Err(Contradiction);
        }
        *slot = value;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            if slot.is_null() {
                budget.object()?;
                *slot = Json::Object(Map::new());
            }
            let map = slot.as_object_mut().ok_or(Contradiction)?;
            descend(budget, map.entry(*key).or_insert(Json::Null), rest, value)
        }
        Step::Next => {
            if slot.is_null() {
                *slot = Json::Array(Vec::new());
            }
            let items = slot.as_array_mut().ok_or(Contradiction)?;
            // `a[][x]=1&a[][y]=2&a[][x]=3` creates two objects, because a repeated key starts the next object.
            let goes_on = match (rest.first(), items.last()) {
                (Some(Step::Key(key)), Some(Json::Object(last))) => !last.contains_key(*key) || rest.len() > 1,
                _ => false,
            };
            if !goes_on {
                items.push(Json::Null);
            }
            let last = items.last_mut().ok_or(Contradiction)?;
            descend(budget, last, rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &str) -> Result<Json, RejectedField> {
        let (mut map, mut budget) = (Map::new(), FormBudget::default());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            put(&mut budget, &mut map, &name, Json::String(value.into_owned()))?;
        }
        Ok(Json::Object(map))
    }

    #[test]
    fn lists_and_objects() {
        assert_eq!(
            read("labels[]=a&labels[]=b&custom_attributes[plan]=gold&custom_attributes[a][b]=1&q=x+y&q=z").unwrap(),
            json!({"labels": ["a", "b"], "custom_attributes": {"plan": "gold", "a": {"b": "1"}}, "q": "z"})
        );
        assert_eq!(
            read("h[][day]=1&h[][open]=9&h[][day]=2&h[][open]=10").unwrap(),
            json!({"h": [{"day": "1", "open": "9"}, {"day": "2", "open": "10"}]})
        );
        assert_eq!(read("a[b=1&[c]=2").unwrap(), json!({"a[b": "1", "[c]": "2"}));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(read("a=1&a[b]=2"), Err(Contradiction));
        assert_eq!(read("a[]=1&a[b]=2"), Err(Contradiction));
        assert_eq!(read(&format!("a{}=1", "[b]".repeat(DEPTH + 1))), Err(Contradiction));
    }

    #[test]
    fn limits_apply_while_reading() {
        assert_eq!(read(&"a&".repeat(FIELDS + 1)), Err(TooLarge::FIELDS.into()));
        assert_eq!(read(&format!("{}=1", "a".repeat(NAME_BYTES + 1))), Err(TooLarge::NAME.into()));
        let deep: Vec<String> = (0..500).map(|n| format!("a{n}{}", "[b]".repeat(DEPTH - 1))).collect();
        let deep = deep.join("&");
        assert_eq!(read(&deep), Err(TooLarge::OBJECTS.into()));
    }
}
