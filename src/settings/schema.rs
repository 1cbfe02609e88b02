//! The JSON schema of a configuration, by which editors complete and check it.

use serde_json::{Map, Value as Json, json};

use super::key::{Key, Preset};

/// A schema that knows every key, its type and its values. What only goes together with other keys is
/// left to the reader, and no key is required, since a configuration can extend another one.
pub fn schema(title: &str, keys: &[Key]) -> Json {
    let mut properties = Map::new();
    let about = "A configuration on which this one builds: a file, or one that the program carries";
    properties.insert("extends".to_string(), json!({"type": "string", "description": about}));
    for key in keys {
        let mut schema = key.about.schema.clone();
        schema["description"] = json!(key.summary);
        if let Preset::Value(default) = &key.default {
            schema["default"] = serde_json::to_value(default).unwrap_or_default();
        }
        if let Some(former) = key.about.former {
            let parent = key.path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let mut schema = schema.clone();
            schema["deprecated"] = json!(true);
            insert(&mut properties, &format!("{parent}.{former}"), schema);
        }
        insert(&mut properties, &key.path, schema);
    }
    let mut schema = object(properties);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

/// Puts a key's schema into the object of its section; of two with the same values the first one stays.
fn insert(properties: &mut Map<String, Json>, path: &str, schema: Json) {
    if let Some((section, rest)) = path.split_once('.') {
        let below = properties.entry(section).or_insert_with(|| object(Map::new()));
        let below = below["properties"].as_object_mut().expect("a section is an object");
        return insert(below, rest, schema);
    }
    let values = |schema: &Json| {
        let mut values = schema.clone();
        let fields = values.as_object_mut().expect("a schema is an object");
        fields.retain(|field, _| field != "description" && field != "default");
        values
    };
    match properties.get_mut(path) {
        None => drop(properties.insert(path.to_string(), schema)),
        Some(known) if values(known) == values(&schema) => {}
        Some(known) => *known = json!({"anyOf": [known, schema]}),
    }
}

fn object(properties: Map<String, Json>) -> Json {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}
