//! `sememe lookup`.

use crate::output::{print, print_json};
use crate::store::{LookupPlan, Question};
use crate::text::count;
use anyhow::Result;
use sememe::ids::store::StoredId;
use sememe::ids::{Style, TextFormat};
use serde_json::{Value, json};

/// Answers from a store: items by key, or all items on an ID or a prefix.
pub fn run(plan: &LookupPlan, json: bool) -> Result<()> {
    let mut store = plan.store.open_existing()?;
    // The store knows no codebook sizes; every number is a code here.
    let format = TextFormat::preset(Style::Plain, &vec![u32::MAX as usize; store.levels()])?.with_counter()?;
    let line = |key: &str, id: &StoredId| -> sememe::Result<Value> {
        Ok(json!({ "key": key, "id": format.write(&id.to_row())?, "codes": id.codes, "counter": id.counter }))
    };
    let mut found = Vec::new();
    match &plan.question {
        Question::Keys(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (key, id) in keys.iter().zip(store.get(&keys)?) {
                found.push(match id {
                    Some(id) => line(key, &id)?,
                    None => json!({ "key": key, "id": null }),
                });
            }
        }
        Question::Prefix(prefix) => {
            for (id, key) in store.with_prefix(prefix, plan.most)? {
                found.push(line(&key, &id)?);
            }
        }
        Question::Id(text) => {
            let row = format.parse(text)?;
            // Without a counter an ID names all items on its codes.
            let plain = text.matches('-').count() + 1 == store.levels();
            for (id, key) in store.with_prefix(&row[..store.levels()], plan.most)? {
                if plain || id.to_row() == row {
                    found.push(line(&key, &id)?);
                }
            }
        }
    }
    if json {
        return print_json(&json!({
            "store": plan.store.shown(),
            "codec": store.codec_hash(),
            "in_store": store.count()?,
            "found": found,
        }));
    }
    if found.is_empty() {
        return print(&format!("no item, of {} in the store\n", count(store.count()?, "item")));
    }
    let told = |value: &Value| {
        let part = |name: &str| value[name].as_str().map(str::to_owned);
        format!("{}\t{}\n", part("id").unwrap_or_else(|| "no ID".into()), part("key").unwrap_or_default())
    };
    print(&found.iter().map(told).collect::<String>())
}
