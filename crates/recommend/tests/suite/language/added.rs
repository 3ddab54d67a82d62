//! Tokens that a model is given.

use super::*;
use sememe::Matrix;
use sememe_recommend::NewTokenRows;
use sememe_testkit::files::error;

/// Rows of the input's table, or the output's, as a saved folder has them.
pub fn table(model: &LanguageModel, name: &str) -> Matrix {
    let place = tempfile::tempdir().expect("a folder");
    model.save(place.path()).expect("saved");
    let file = TensorFile::open(&place.path().join("model.safetensors")).expect("weights");
    let (rows, dims) = (model.shape().vocabulary, model.shape().decoder.dims);
    Matrix::from_vec(rows, dims, file.read(name, &[rows, dims]).expect("a table")).expect("rows")
}

pub fn mean(rows: &Matrix, count: usize) -> Vec<f64> {
    let sum = |d: usize| (0..count).map(|row| f64::from(rows.row(row)[d])).sum::<f64>();
    (0..rows.dims()).map(|d| sum(d) / count as f64).collect()
}

fn close(got: &[f32], want: &[f64]) {
    for (g, w) in got.iter().zip(want) {
        assert!((f64::from(*g) - w).abs() <= 1e-6, "{got:?} {want:?}");
    }
}

#[test]
fn new_rows_begin_at_the_mean_and_the_old_logits_stay() {
    for (name, tables) in
        [("llama", &["model.embed_tokens.weight"][..]), ("qwen2", &["model.embed_tokens.weight", "lm_head.weight"])]
    {
        let (old, mut model) = (load(name), load(name));
        let first = old.tokenizer().tokens();
        assert!(first < old.shape().vocabulary, "the table is padded");
        let new = model.add_tokens(&["<item>"], &["<a_0>", "<a_1>", "<b_0>", "Größe"], None).expect("added");
        assert_eq!((new.start as usize, new.len()), (first, 5));
        // The table's padding is used first.
        assert_eq!(model.shape().vocabulary, (first + 5).max(old.shape().vocabulary));
        for name in tables {
            let (before, after) = (table(&old, name), table(&model, name));
            assert_eq!(before.as_slice()[..first * before.dims()], after.as_slice()[..first * before.dims()]);
            for token in new.clone() {
                close(after.row(token as usize), &mean(&before, first));
            }
        }
        let sequence = [1, 70, 71, 260];
        let ask = |model: &LanguageModel| model.logits(&[&sequence], &Device::cpu()).expect("logits").remove(0);
        let (before, after) = (ask(&old), ask(&model));
        for row in 0..sequence.len() {
            assert_eq!(distance(&before.row(row)[..first], &after.row(row)[..first]), 0.0);
        }
        let tokens = model.tokenizer().encode("the<a_1> Größe<item>", false).expect("tokens");
        assert_eq!(tokens[tokens.len() - 1], new.start);
        assert!(tokens.contains(&(new.start + 2)) && tokens.contains(&(new.start + 4)), "{tokens:?}");
        let tokens = model.tokenizer().encode("the<a_1> item<b_0><item>", false).expect("tokens");
        assert_eq!(model.tokenizer().decode(&tokens, true).expect("a text"), "the<a_1> item<b_0>");
    }
}

#[test]
fn rows_can_be_given() {
    let rows = Matrix::from_vec(2, 16, (0..32).map(|i| i as f32 / 8.0).collect()).expect("rows");
    let mut model = load("qwen2");
    let given = NewTokenRows { embedding: &rows, output: None };
    let new = model.add_tokens(&[], &["<a_0>", "<a_1>"], Some(&given)).expect("added");
    let (input, output) = (table(&model, "model.embed_tokens.weight"), table(&model, "lm_head.weight"));
    assert_eq!(input.row(new.start as usize + 1), rows.row(1));
    close(output.row(new.start as usize), &mean(&table(&load("qwen2"), "lm_head.weight"), new.start as usize));

    let mut model = load("llama3");
    model
        .add_tokens(&["<a_0>"], &["<a_1>"], Some(&NewTokenRows { embedding: &rows, output: Some(&rows) }))
        .expect("added");
    assert_eq!(table(&model, "lm_head.weight").row(new.start as usize), rows.row(0));
}

#[test]
fn tokens_that_do_not_fit_change_nothing() {
    let mut model = load("llama");
    let rows = |n: usize, value: f32| Matrix::from_vec(n, 16, vec![value; n * 16]).expect("rows");
    let (one, two, bad) = (rows(1, 0.5), rows(2, 0.5), rows(1, f32::NAN));
    let narrow = Matrix::from_vec(1, 8, vec![0.5; 8]).expect("rows");
    let mut refused = |special: &[&str], others: &[&str], rows: Option<(&Matrix, Option<&Matrix>)>| {
        let rows = rows.map(|(embedding, output)| NewTokenRows { embedding, output });
        error(model.add_tokens(special, others, rows.as_ref()))
    };
    assert!(refused(&[], &["<s>"], None).contains("`<s>`"));
    assert!(refused(&["<x>"], &["<x>"], None).contains("`<x>` would be added twice"));
    assert!(refused(&[""], &[], None).contains("a token is empty"));
    assert!(refused(&[], &["<x>"], Some((&two, None))).contains("expected new tokens = 1, got 2"));
    assert!(refused(&[], &["<x>"], Some((&narrow, None))).contains("expected dims = 16, got 8"));
    assert!(refused(&[], &["<x>"], Some((&bad, None))).contains("NaN"));
    assert!(refused(&[], &["<x>"], Some((&one, Some(&one)))).contains("same table as its input"));
    assert_eq!(model.shape(), load("llama").shape());
    assert_eq!(model.tokenizer().id("<x>"), None);
    let none: [&str; 0] = [];
    assert!(model.add_tokens(&none, &none, None).expect("nothing").is_empty());
}
