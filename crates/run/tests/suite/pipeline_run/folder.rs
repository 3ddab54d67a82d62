//! Runs whose vectors come from a model in a folder.

use super::*;
use sememe_testkit::embed_oracle;

#[test]
fn a_model_in_a_folder_is_an_input_like_any_other() {
    let place = Place::new(60);
    let mut t = embed_oracle::bert(&place.path("model"), "mean");
    let config =
        CONFIG.replace("vectors = \"rows.npy\"", "model_folder = \"model\"\nmodel = \"tiny\"\nbatch_items = 16");
    fs::write(place.path("sememe.toml"), &config).expect("written");
    let items: Vec<String> = embed_oracle::items(60)
        .iter()
        .map(|(key, text)| serde_json::json!({"id": key, "title": text}).to_string() + "\n")
        .collect();
    fs::write(place.path("items.jsonl"), items.concat()).expect("written");
    place.run(&[]);
    assert_eq!(ran(&place.run(&[])), [""; 0]);
    // The folder may move; what is in it may not change.
    fs::rename(place.path("model"), place.path("moved")).expect("renamed");
    assert_eq!(ran(&place.run(&["embed.model_folder=\"moved\""])), [""; 0]);
    assert!(ran(&place.run(&["embed.model_folder=\"moved\"", "embed.max_tokens=4"])).contains(&"embed"));
    t.0.get_mut("encoder.layer.1.output.dense.bias").expect("a bias").1[3] += 0.5;
    t.save(&place.path("moved/model.safetensors"));
    let report = place.run(&["embed.model_folder=\"moved\"", "embed.max_tokens=4"]);
    assert!(ran(&report).contains(&"embed"));
    place.refused(&["embed.model_folder=\"moved\"", "embed.max_tokens=99"], &["`embed.max_tokens`", "3 to 12"]);
    place.refused(&["embed.model_folder=\"absent\""], &["absent", "is not there"]);
    place.refused(
        &["embed.model_folder=\"moved\"", "embed.retries=1", "embed.api_key_env=\"K\""],
        &["`embed.api_key_env`", "`url`"],
    );
}
