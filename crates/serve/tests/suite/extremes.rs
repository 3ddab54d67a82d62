//! Values at the bounds of a schema, and values one beyond each: what a document promises, as requests.

use serde_json::{Map, Value, json};

/// A document and its schemas.
pub struct Extremes<'a> {
    document: &'a Value,
    /// A text of each pattern, and one that it does not match.
    patterns: &'a dyn Fn(&str) -> (String, String),
}

impl<'a> Extremes<'a> {
    pub fn new(document: &'a Value, patterns: &'a dyn Fn(&str) -> (String, String)) -> Self {
        Self { document, patterns }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(place) => self.document.pointer(&place[1..]).unwrap_or_else(|| panic!("`{place}` is not there")),
            None => schema,
        }
    }

    /// Values that the schema allows: at every bound. Not empty.
    pub fn allowed(&self, schema: &'a Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            return choices.iter().flat_map(|choice| self.allowed(choice)).collect();
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.clone();
        }
        let mut out = match kind(schema) {
            "object" => self.objects(schema, |field| self.allowed(field)),
            "array" => {
                let (least, most) = (count(schema, "minItems").unwrap_or(0), count(schema, "maxItems").unwrap_or(2));
                let items = self.allowed(&schema["items"]);
                let mut lists: Vec<Value> = [least, most].map(|n| self.list(&items[0], n)).to_vec();
                lists.extend(items.iter().map(|item| self.list(item, least.max(1))));
                lists
            }
            "string" => match schema["pattern"].as_str() {
                Some(pattern) => vec![json!((self.patterns)(pattern).0)],
                None => {
                    let (least, most) =
                        (count(schema, "minLength").unwrap_or(0), count(schema, "maxLength").unwrap_or(9));
                    // Characters, not bytes.
                    ["a", "ü", "𝄞"].into_iter().flat_map(|c| [least, most].map(|n| json!(c.repeat(n)))).collect()
                }
            },
            "boolean" => vec![json!(false), json!(true)],
            "null" => Vec::new(),
            "integer" | "number" => {
                let (least, most) = (schema["minimum"].clone(), schema["maximum"].clone());
                let above = schema["exclusiveMinimum"].as_f64().map(|bound| json!(bound + 1e-9));
                let found: Vec<Value> = [least, most].into_iter().filter(|v| !v.is_null()).chain(above).collect();
                // Whole, however it is written.
                if found.is_empty() { vec![json!(1), json!(1.0)] } else { found }
            }
            other => panic!("`{other}`: {schema}"),
        };
        if is_nullable(schema) {
            out.push(Value::Null);
        }
        out
    }

    /// Values that it does not: one beyond every bound, and of other types.
    pub fn forbidden(&self, schema: &'a Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let all: Vec<Value> = choices.iter().flat_map(|choice| self.forbidden(choice)).collect();
            let null = choices.iter().any(is_nullable);
            return all.into_iter().filter(|value| !(null && value.is_null())).collect();
        }
        let mut out = vec![if kind(schema) == "boolean" { json!(7) } else { json!(true) }];
        if !is_nullable(schema) {
            out.push(Value::Null);
        }
        if schema["enum"].is_array() {
            out.push(json!("another"));
            return out;
        }
        match kind(schema) {
            "object" => {
                out.extend(self.objects(schema, |field| self.forbidden(field)).into_iter().skip(1));
                let whole = &self.objects(schema, |field| self.allowed(field))[0];
                for field in required(schema) {
                    let mut without = whole.clone();
                    without.as_object_mut().expect("an object").remove(field);
                    out.push(without);
                }
                if schema["additionalProperties"] == false {
                    let mut more = whole.clone();
                    more["another"] = json!(1);
                    out.push(more);
                }
            }
            "array" => {
                let (least, most) = (count(schema, "minItems").unwrap_or(0), count(schema, "maxItems"));
                let item = self.allowed(&schema["items"]).swap_remove(0);
                out.extend(least.checked_sub(1).into_iter().chain(most.map(|n| n + 1)).map(|n| self.list(&item, n)));
                let within = least.max(1);
                out.extend(self.forbidden(&schema["items"]).into_iter().map(|wrong| {
                    let mut list = self.list(&item, within);
                    list[within - 1] = wrong;
                    list
                }));
            }
            "string" => {
                out.extend(schema["pattern"].as_str().map(|pattern| json!((self.patterns)(pattern).1)));
                let (least, most) = (count(schema, "minLength").unwrap_or(0), count(schema, "maxLength"));
                out.extend(least.checked_sub(1).into_iter().chain(most.map(|n| n + 1)).map(|n| json!("a".repeat(n))));
            }
            "integer" => {
                out.extend([json!(1.5), json!(1e300)]);
                // 128 bits hold one more than any bound.
                let beyond = |bound: &Value, step: i128| -> Option<Value> {
                    let number: i128 = bound.to_string().parse().ok()?;
                    serde_json::from_str(&(number + step).to_string()).ok()
                };
                out.extend(beyond(&schema["minimum"], -1));
                out.extend(beyond(&schema["maximum"], 1));
            }
            "number" => {
                let beyond = |bound: f64, up: bool| {
                    let float = schema["format"] == "float";
                    // The next float32, where it is one.
                    let next = match (float, up) {
                        (true, true) => f64::from((bound as f32).next_up()),
                        (true, false) => f64::from((bound as f32).next_down()),
                        (false, true) => bound.next_up(),
                        (false, false) => bound.next_down(),
                    };
                    // Past the largest, what is rounded to it.
                    match (next.is_finite(), up) {
                        (true, _) => next,
                        (false, true) => bound.next_up(),
                        (false, false) => bound.next_down(),
                    }
                };
                out.extend(schema["minimum"].as_f64().map(|bound| json!(beyond(bound, false))));
                out.extend(schema["maximum"].as_f64().map(|bound| json!(beyond(bound, true))));
                out.extend(schema["exclusiveMinimum"].as_f64().map(|bound| json!(bound)));
            }
            _ => {}
        }
        out
    }

    /// Objects with what has to be there, first alone, then with every value of every field.
    fn objects(&self, schema: &'a Value, values: impl Fn(&'a Value) -> Vec<Value>) -> Vec<Value> {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let least: Map<String, Value> = required(schema)
            .map(|field| (field.to_owned(), self.allowed(&schema["properties"][field]).swap_remove(0)))
            .collect();
        let mut out = vec![Value::Object(least.clone())];
        for (field, schema) in fields {
            for value in values(schema) {
                let mut object = least.clone();
                object.insert(field.clone(), value);
                out.push(Value::Object(object));
            }
        }
        out
    }

    /// Copies of an item; objects get keys of their own.
    fn list(&self, item: &Value, count: usize) -> Value {
        let own = |number: usize| {
            let mut item = item.clone();
            if item.get("key").is_some_and(|key| key.as_str().is_some_and(|key| key.len() < 9)) {
                item["key"] = json!(format!("own {number}"));
            }
            item
        };
        (0..count).map(own).collect()
    }
}

fn kind(schema: &Value) -> &str {
    let kinds = match &schema["type"] {
        Value::String(kind) => return kind,
        Value::Array(kinds) => kinds,
        _ => panic!("a schema without a type: {schema}"),
    };
    kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").expect("a type")
}

fn is_nullable(schema: &Value) -> bool {
    schema["type"] == "null" || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")))
}

fn count(schema: &Value, field: &str) -> Option<usize> {
    schema[field].as_u64().map(|count| count as usize)
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}
