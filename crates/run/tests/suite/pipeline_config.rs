//! The configuration of a run: defaults, overrides, and where a mistake is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sememe::{Error, Result};
use sememe_run::config::{
    CodebookSizes, CollisionPolicy, Config, LoadedConfig, Overrides, TEMPLATE, TrainMethod, load,
};

/// The least that is a configuration.
pub(crate) const LEAST: &str =
    "[prep]\nsource = \"items.jsonl\"\ntemplate = \"{title}\"\n[embed]\nvectors = \"rows.npy\"\n";

fn read_with(text: &str, set: &[&str], environment: &[(&str, &str)]) -> Result<(LoadedConfig, PathBuf)> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("sememe.toml");
    fs::write(&path, text).expect("written");
    fs::write(folder.path().join("secrets.env"), "# a comment\nexport TOKEN='s3cret'\nSEMEME__SEED=5\n\nOTHER=a=b\n")
        .expect("written");
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let overrides = Overrides {
        set: set.iter().map(|s| (*s).to_owned()).collect(),
        environment: environment.iter().map(owned).collect::<BTreeMap<_, _>>(),
    };
    load(&path, &overrides).map(|loaded| (loaded, folder.path().to_owned()))
}

fn refused(text: &str, set: &[&str], parts: &[&str]) {
    let error = read_with(text, set, &[]).expect_err("refused").to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn the_template_says_the_defaults() {
    let file: Config = toml::from_str(TEMPLATE).expect("TOML");
    let mut expected = Config::default();
    // What has no default of its own, or is spelt out there.
    expected.prep.source = "items.jsonl".into();
    expected.prep.template = "{title}[. {description:1000}]".into();
    expected.embed.vectors = Some("embeddings.npy".into());
    expected.train.levels = Some(3);
    expected.train.codebook_size = Some(CodebookSizes::All(256));
    assert_eq!(file, expected);
    file.validate().expect("valid");
}

#[test]
fn every_line_that_is_commented_out_is_a_setting() {
    // Uncommented one by one, each is a known key; those that exclude each other are not ranges to be checked here.
    let lines: Vec<&str> = TEMPLATE.lines().collect();
    let mut tried = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some(setting) = line.strip_prefix("# ") else { continue };
        let is_setting =
            setting.split_once(" = ").is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let in_section = lines[..at].iter().rev().take_while(|l| l.starts_with("# ")).any(|l| l.starts_with("# ["));
        if !is_setting || in_section {
            continue;
        }
        let mut text: Vec<&str> = lines.clone();
        text[at] = setting;
        let parsed: std::result::Result<Config, _> = toml::from_str(&text.join("\n"));
        parsed.unwrap_or_else(|e| panic!("{setting}: {e}"));
        tried += 1;
    }
    assert!(tried > 15, "{tried}");
    let network = TEMPLATE
        .replace("# [train.rqvae]\n# precision", "[train.rqvae]\nprecision")
        .replace("\n# optimizer", "\noptimizer");
    let config: Config = toml::from_str(&network).expect("TOML");
    assert_eq!(config.train.rqvae["precision"], "bf16");
    let (before, after) = TEMPLATE.split_once("# [dialogues]\n").expect("the section");
    let (section, after) = after.split_once("\n\n").expect("its end");
    let section = section.replace("# ", "");
    let config: Config = toml::from_str(&format!("{before}[dialogues]\n{section}\n\n{after}")).expect("TOML");
    config.validate().expect("valid");
    for (header, check) in [("[recall]", "recall"), ("[tracking.mlflow]", "tracking")] {
        let (before, after) = TEMPLATE.split_once(&format!("# {header}\n")).expect("the section");
        let (section, after) = after.split_once("\n\n").expect("its end");
        let parsed: std::result::Result<Config, _> =
            toml::from_str(&format!("{before}{header}\n{}\n\n{after}", section.replace("# ", "")));
        parsed.unwrap_or_else(|e| panic!("{check}: {e}"));
    }
    assert_eq!(config.dialogues.and_then(|dialogues| dialogues.query_end).as_deref(), Some("[REC]"));
}

#[test]
fn later_settings_go_over_earlier_ones() {
    let text = format!("seed = 1\nenv_file = \"secrets.env\"\n{LEAST}");
    let (loaded, folder) = read_with(&text, &[], &[]).expect("read");
    assert_eq!(loaded.config.seed, 5, "the env file");
    assert_eq!(loaded.variables["TOKEN"], "s3cret");
    assert_eq!(loaded.variables["OTHER"], "a=b");
    let (loaded, _) = read_with(&text, &[], &[("SEMEME__SEED", "6"), ("TOKEN", "mine")]).expect("read");
    assert_eq!((loaded.config.seed, loaded.variables["TOKEN"].as_str()), (6, "mine"), "the environment");
    let set =
        ["seed=7", "train.levels=4", "train.codebook_size=[8, 8, 8, 4]", "assign.policy=relocate", "prep.title=name"];
    let (loaded, _) = read_with(&text, &set, &[("SEMEME__SEED", "6"), ("SEMEME__TRAIN__LEVELS", "2")]).expect("read");
    let config = &loaded.config;
    assert_eq!((config.seed, config.train.levels, config.assign.policy), (7, Some(4), CollisionPolicy::Relocate));
    assert_eq!(config.train.rq_kmeans(config.seed).expect("settings").codebook_sizes, [8, 8, 8, 4]);
    assert_eq!(config.train.rq_kmeans(config.seed).expect("settings").seed, 7);
    assert_eq!(config.prep.title.as_deref(), Some("name"));
    let (loaded, _) = read_with(&text, &["prep.title=none", "prep.limit = 3"], &[]).expect("read");
    assert_eq!((loaded.config.prep.title, loaded.config.prep.limit), (None, Some(3)));
    // Paths are the file's, not the caller's; what is kept beside a run does not name the folder.
    assert!(folder.file_name().is_some());
    assert!(loaded.config.prep.source.is_absolute() && loaded.config.prep.source.ends_with("items.jsonl"));
    assert!(loaded.config.output.ends_with("sememe-run") && loaded.config.output.is_absolute());
    assert_eq!(loaded.written.prep.source, PathBuf::from("items.jsonl"));
}

#[test]
fn networks_take_settings_over_a_preset() {
    let text = format!(
        "{LEAST}[train]\nmethod = \"rqvae\"\nnetwork = \"animind\"\nepochs = 3\nlevels = 2\n[train.rqvae]\noptimizer = {{ rate = 1e-4 }}\nhidden = [8]\n"
    );
    let (loaded, _) = read_with(&text, &["train.rqvae.batch_rows=64"], &[]).expect("read");
    assert_eq!(loaded.config.train.method, TrainMethod::Rqvae);
    let config = loaded.config.train.rqvae(3).expect("settings");
    assert_eq!((config.optimizer.rate, config.batch_rows, config.epochs, config.seed), (1e-4, 64, 3, 3));
    assert_eq!(
        (config.hidden.as_slice(), config.shared_codebook, config.codebook_sizes.as_slice()),
        (&[8][..], true, &[2048, 2048][..])
    );
}

#[test]
fn epochs_are_as_many_as_the_file_says_and_a_dry_run_has_few() {
    let text = format!("{LEAST}[train]\nmethod = \"rqvae\"\nepochs = 40\n");
    let config = read_with(&text, &[], &[]).expect("read").0.config;
    // More than the preset's own.
    let own = read_with(&text, &["train.epochs=none"], &[]).expect("read").0.config.train.rqvae(0).expect("settings");
    assert!(own.epochs < 40, "{}", own.epochs);
    assert_eq!(config.train.rqvae(0).expect("settings").epochs, 40);
    assert_eq!(config.dry().train.rqvae(0).expect("settings").epochs, config.dry_run.epochs);
    let short = read_with(&text, &["train.epochs=3", "dry_run.epochs=9"], &[]).expect("read").0.config;
    assert_eq!(short.dry().train.rqvae(0).expect("settings").epochs, 3);
}

#[test]
fn mistakes_have_a_place_and_a_remedy() {
    refused(
        &format!("{LEAST}[train]\nlevls = 3\n"),
        &[],
        &["line 7, column 1", "unknown key `levls`", "did you mean `levels`?"],
    );
    refused(&format!("{LEAST}[asign]\npolicy = \"suffix\"\n"), &[], &["line 6", "`asign`", "did you mean `assign`?"]);
    refused(
        &format!("{LEAST}[assign]\npolicy = \"sufix\"\n"),
        &[],
        &["line 7, column 10", "`sufix`", "did you mean `suffix`?"],
    );
    refused(&format!("{LEAST}[train]\nlevels = \"three\"\n"), &[], &["line 7, column 10", "string"]);
    refused("[prep\nsource = 1", &[], &["line 1, column 6"]);
    refused(&format!("{LEAST}[train.rqvae]\nhiden = [3]\n"), &[], &["unknown key `hiden`", "did you mean `hidden`?"]);
    refused(
        &format!("{LEAST}[train.rq_kmeans]\niteration = 3\n"),
        &[],
        &["line 7, column 1", "did you mean `iterations`?"],
    );
    refused(LEAST, &["train.levls=4"], &["`train.levls=4`", "unknown key `levls`", "did you mean `levels`?"]);
    refused(LEAST, &["train.levels"], &["expected NAME=VALUE"]);
    refused(LEAST, &["name.part=4"], &["`name.part=4`", "expected a string"]);
    refused(LEAST, &["train.levels=0"], &["`train.levels`: expected 1 to 64, got 0"]);
    refused(
        LEAST,
        &["train.levels=2", "train.codebook_size=[4,4,4]"],
        &["`train.codebook_size`", "lists 3 levels", "says 2"],
    );
    refused(LEAST, &["train.epochs=2"], &["`train.epochs`", "rqvae"]);
    refused(LEAST, &["train.network=tigre", "train.method=rqvae"], &["`train.network`", "tigre", "tiger"]);
    refused(LEAST, &["embed.vectors=none"], &["`embed.vectors`", "`url`", "`model_folder`"]);
    refused(LEAST, &["embed.url=http://x/v1", "embed.model=m"], &["`embed.vectors`", "one of"]);
    refused(LEAST, &["embed.model=m"], &["`embed.model`", "`url`"]);
    refused(LEAST, &["embed.concurrency=0"], &["`embed.concurrency`", "1 to 256"]);
    refused(LEAST, &["prep.template={title"], &["`prep.template`"]);
    refused(LEAST, &["prep.table=a", "prep.query=SELECT 1"], &["`prep.query`"]);
    refused(LEAST, &["assign.capacity=2"], &["`assign.capacity`", "relocate"]);
    refused(LEAST, &["assign.on_change=move", "assign.policy=relocate"], &["`assign.on_change`", "keep"]);
    refused(LEAST, &["tokenize.clusters.depth=0"], &["`tokenize.clusters.depth`"]);
    refused(LEAST, &["tokenize.end_token=</s>"], &["`tokenize.end_token`", "`end_token_id`"]);
    refused(LEAST, &["dry_run.items=0"], &["`dry_run.items`"]);
    refused(&format!("env_file = \"none.env\"\n{LEAST}"), &[], &["none.env"]);
    assert!(matches!(load("no such file.toml", &Overrides::default()), Err(Error::Io { .. })));
}

#[test]
fn a_secret_is_never_in_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join(".env"), "TOKEN s3cret\n").expect("written");
    let path = folder.path().join("sememe.toml");
    fs::write(&path, format!("env_file = \".env\"\n{LEAST}")).expect("written");
    let error = load(&path, &Overrides::default()).expect_err("refused").to_string();
    assert!(error.contains("line 1") && !error.contains("s3cret"), "{error}");
}
