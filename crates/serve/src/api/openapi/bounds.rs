//! What of the document depends on what is served: what cannot be asked is not in it, and what can is bounded as the service bounds it.

use crate::api::assign::MOST_KEY;
use crate::api::chat_check::MOST_STOPS;
use crate::api::encode::RAW;
use crate::api::recommend::{MOST_BEAMS, MOST_HISTORY, most_queries};
use crate::manners::limits::Limits;
use crate::models::RecommendWorker;
use crate::patterns::NOT_BLANK;
use crate::served::Served;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What bounds requests.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Values of a row.
    dims: usize,
    /// Rows, texts or items of a request.
    rows: usize,
    queries: usize,
    id_pattern: String,
    prefix_pattern: String,
    /// An item's key and ID, and a prefix of that, where there are items.
    example: Option<[String; 3]>,
    /// Whether texts become vectors.
    texts: bool,
    /// Whether IDs are given out.
    store: bool,
    recommender: Option<Ranker>,
    language: bool,
}

/// What a recommender reads.
#[derive(Clone, Copy, Debug)]
struct Ranker {
    searches: bool,
    wishes: bool,
    /// How far from 0 values of a wish may be.
    bound: Option<f32>,
}

impl Bounds {
    /// The bounds of what is served.
    pub fn new(served: &Served, limits: &Limits) -> Self {
        let (models, names) = (served.models(), served.names());
        let ranker = |worker: &RecommendWorker| {
            let info = worker.info();
            Ranker { searches: info.beams, wishes: info.wishes, bound: worker.wish_bound() }
        };
        let items = served.catalogue().read();
        let first = items.with_prefix(&[]).first().map(|number| items.item(*number));
        Self {
            dims: served.codec().dims(),
            rows: limits.rows,
            queries: most_queries(limits),
            id_pattern: names.id_pattern(),
            prefix_pattern: names.prefix_pattern(),
            example: first.map(|item| {
                let prefix = names.plain_prefix(&item.codes[..1]);
                [item.key.to_owned(), served.show(&item).id, prefix]
            }),
            texts: models.embedder.is_some(),
            store: served.assigning().is_some(),
            recommender: models.recommender.as_ref().map(ranker),
            language: models.language.is_some(),
        }
    }

    /// Writes them into a document.
    pub fn apply(&self, document: &mut Value) {
        self.bound_paths(&mut document["paths"]);
        let schemas = &mut document["components"]["schemas"];
        self.bound_encode(&mut schemas["EncodeRequest"]);
        self.bound_assign(schemas);
        self.bound_search(&mut schemas["SearchRequest"]);
        self.bound_recommend(schemas);
        bound_chat(schemas);
        drop_unused(document);
    }

    fn bound_paths(&self, paths: &mut Value) {
        let loaded = [
            ("/v1/assign", self.store),
            ("/v1/recommend", self.recommender.is_some()),
            ("/v1/chat/completions", self.language),
        ];
        if let Some(paths) = paths.as_object_mut() {
            paths.retain(|path, _| loaded.iter().all(|(of, loaded)| of != path || *loaded));
            if self.texts {
                let operations = paths.values_mut().filter_map(|item| item.get_mut("post"));
                for responses in operations.filter_map(|operation| operation["responses"].as_object_mut()) {
                    responses.remove("422");
                }
            }
        }
        // Bytes, of which the document cannot say how many.
        let raw = json!({ "schema": { "type": "string", "format": "binary" } });
        paths["/v1/encode"]["post"]["requestBody"]["content"][RAW] = raw.clone();
        paths["/v1/encode"]["post"]["responses"]["200"]["content"][RAW] = raw;
        if self.language {
            paths["/v1/chat/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"] =
                event();
        }
        let [key, id, prefix] = match &self.example {
            Some(example) => example.clone().map(Some),
            None => [None, None, None],
        };
        let parameters = [
            ("/v1/items/{key}", None, key),
            ("/v1/ids/{id}", Some(&self.id_pattern), id),
            ("/v1/prefixes/{prefix}", Some(&self.prefix_pattern), prefix),
        ];
        for (path, pattern, example) in parameters {
            let parameter = &mut paths[path]["get"]["parameters"][0];
            parameter["schema"]["minLength"] = json!(1);
            if let Some(pattern) = pattern {
                parameter["schema"]["pattern"] = json!(pattern);
            }
            if let Some(example) = example {
                parameter["example"] = json!(example);
            }
        }
    }

    /// A row of the codec.
    fn row(&self, bound: f32) -> Value {
        // As f64, which is what JSON's numbers are read as.
        let bound = f64::from(bound);
        let value = json!({ "type": "number", "format": "float", "minimum": -bound, "maximum": bound });
        json!({ "type": "array", "minItems": self.dims, "maxItems": self.dims, "items": value })
    }

    fn bound_encode(&self, schema: &mut Value) {
        bound(schema, "rows", json!({ "type": "array", "maxItems": self.rows, "items": self.row(f32::MAX) }));
        let text = json!({ "type": "string", "pattern": NOT_BLANK });
        bound(schema, "texts", json!({ "type": "array", "maxItems": self.rows, "items": text }));
        one_of(schema, &self.choices(&["rows"], "texts"), &[]);
    }

    fn bound_assign(&self, schemas: &mut Value) {
        schemas["AssignRequest"]["properties"]["items"]["maxItems"] = json!(self.rows);
        schemas["AssignRequest"]["additionalProperties"] = json!(false);
        let item = &mut schemas["AssignItem"];
        item["properties"]["key"]["maxLength"] = json!(MOST_KEY);
        bound(item, "row", self.row(f32::MAX));
        bound(item, "text", json!({ "type": "string", "pattern": NOT_BLANK }));
        one_of(item, &self.choices(&["row"], "text"), &["title"]);
    }

    fn bound_search(&self, schema: &mut Value) {
        bound(schema, "vector", self.row(f32::MAX));
        bound(schema, "text", json!({ "type": "string", "pattern": NOT_BLANK }));
        one_of(schema, &self.choices(&["words", "vector", "like"], "text"), &["limit"]);
    }

    fn bound_recommend(&self, schemas: &mut Value) {
        let Some(Ranker { searches, wishes, bound: most }) = self.recommender else { return };
        let mut ways = if wishes { self.choices(&["vector"], "text") } else { Vec::new() };
        ways.push("history");
        let mut others = vec!["history", "count", "include_seen"];
        if searches {
            others.push("beams");
        }
        for name in ["RecommendQuery", "RecommendRequest"] {
            let schema = &mut schemas[name];
            bound(
                schema,
                "history",
                json!({ "type": "array", "maxItems": MOST_HISTORY, "items": { "type": "string" } }),
            );
            if let Some([key, ..]) = &self.example {
                schema["properties"]["history"]["example"] = json!([key]);
            }
            bound(schema, "vector", self.row(most.unwrap_or(f32::MAX)));
            bound(schema, "text", json!({ "type": "string", "pattern": NOT_BLANK }));
            bound(schema, "beams", json!({ "type": "integer", "minimum": 1, "maximum": MOST_BEAMS }));
            let properties = schema["properties"].clone();
            let one = |field: &&str| {
                let mut branch = branch(&properties, field, &others);
                if *field == "history" {
                    // Alone it is not empty; before a wish it may be.
                    branch["properties"]["history"]["minItems"] = json!(1);
                }
                branch
            };
            let mut branches: Vec<Value> = ways.iter().map(one).collect();
            if name == "RecommendRequest" {
                let mut several = branch(&properties, "queries", &[]);
                several["properties"]["queries"]["maxItems"] = json!(self.queries);
                branches.push(several);
            }
            choose(schema, branches);
        }
    }

    /// Fields of which a request has one; `text` among them where texts are read.
    fn choices<'a>(&self, fields: &[&'a str], text: &'a str) -> Vec<&'a str> {
        fields.iter().copied().chain(self.texts.then_some(text)).collect()
    }
}

/// An event of a chat that is streamed: a piece of the answer, what went wrong after the first, or the end.
fn event() -> Value {
    let schemas = ["ChatChunk", "ErrorBody"].map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }));
    let piece =
        json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": { "anyOf": schemas } });
    let data = json!({ "anyOf": [piece, { "type": "string", "const": "[DONE]" }] });
    json!({ "type": "object", "description": "An event.", "required": ["data"], "properties": { "data": data } })
}

fn bound_chat(schemas: &mut Value) {
    let request = &mut schemas["ChatRequest"]["properties"];
    if request.is_null() {
        return;
    }
    request["messages"]["minItems"] = json!(1);
    request["seed"]["minimum"] = json!(i64::MIN);
    request["seed"]["maximum"] = json!(i64::MAX);
    let text = json!({ "type": "string", "minLength": 1 });
    let texts = json!({ "type": "array", "maxItems": MOST_STOPS, "items": text });
    schemas["StopInput"]["oneOf"] = json!([text, texts]);
    schemas["ChatPart"]["properties"]["type"]["enum"] = json!(["text"]);
}

/// Puts bounds in the place of a field's type; what is said of it stays.
fn bound(schema: &mut Value, field: &str, bounds: Value) {
    let description = schema["properties"][field]["description"].clone();
    schema["properties"][field] = bounds;
    if !description.is_null() {
        schema["properties"][field]["description"] = description;
    }
}

/// An object with one field that has to be there and others that may be.
fn branch(properties: &Value, required: &str, others: &[&str]) -> Value {
    let fields: Map<String, Value> = std::iter::once(&required)
        .chain(others)
        .map(|field| ((*field).to_owned(), properties[*field].clone()))
        .collect();
    json!({ "type": "object", "properties": fields, "required": [required], "additionalProperties": false })
}

/// Exactly one of the fields, those that the schema requires, and perhaps others.
fn one_of(schema: &mut Value, fields: &[&str], others: &[&str]) {
    let (properties, required) = (schema["properties"].clone(), schema["required"].clone());
    let always: Vec<&str> = required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let all: Vec<&str> = always.iter().chain(others).copied().collect();
    let with = |field: &&str| {
        let mut branch = branch(&properties, field, &all);
        let required: Vec<&str> = always.iter().chain([field]).copied().collect();
        branch["required"] = json!(required);
        branch
    };
    choose(schema, fields.iter().map(with).collect());
}

/// Makes a schema that of one of these objects; what is said of it stays.
fn choose(schema: &mut Value, mut branches: Vec<Value>) {
    let description = schema["description"].take();
    *schema = if branches.len() == 1 { branches.remove(0) } else { json!({ "oneOf": branches }) };
    if !description.is_null() {
        schema["description"] = description;
    }
}

/// Drops schemas that nothing refers to any more.
fn drop_unused(document: &mut Value) {
    const PLACE: &str = "#/components/schemas/";
    let mut used = BTreeSet::new();
    let mut left = vec![&document["paths"]];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(values) => left.extend(values),
            Value::String(text) => {
                if let Some(name) = text.strip_prefix(PLACE)
                    && used.insert(name.to_owned())
                {
                    left.push(&document["components"]["schemas"][name]);
                }
            }
            _ => {}
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| used.contains(name));
    }
}
