//! Vectors of codes' tokens from their codewords.

use super::*;
use sememe::{Codec, Matrix, RqKMeans};
use sememe_recommend::ChatTokens;
use sememe_testkit::files::error;
use std::fs;

const SIZES: [usize; 2] = [3, 2];

fn codec() -> Codec {
    let settings = RqKMeans { codebook_sizes: SIZES.to_vec(), ..RqKMeans::default() };
    Codec::train(&rows(), &settings, &Device::cpu(), &()).expect("a codec")
}

/// What `export` writes of tokens: one special, then the codes, then a counter.
fn bundle(first: usize) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let names = ["<id>", "<a_0>", "<a_1>", "<a_2>", "<b_0>", "<b_1>", "<1>"];
    let numbered: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{name:?}: {}", first + i)).collect();
    fs::write(place.path().join("vocabulary.json"), format!("{{{}}}", numbered.join(", "))).expect("written");
    fs::write(place.path().join("special_tokens.json"), "{\"special_tokens\": [\"<id>\"]}").expect("written");
    place
}

/// Words 70 + item, twice each, beside the item's ID, after a word that all chats have.
fn chats(codec: &Codec, rows: &Matrix, first: u32) -> Vec<ChatTokens> {
    let codes = codec.encode(rows).expect("codes");
    let chat = |i: usize| {
        let code = codes.row(i % 6);
        let id = [first, first + 1 + code[0], first + 4 + code[1]];
        let tokens = [&[65, 70 + (i as u32 % 6) / 2, 80 + i as u32 % 2][..], &id].concat();
        ChatTokens { learned: (3..tokens.len() as u32).collect(), tokens }
    };
    (0..12).map(chat).collect()
}

/// Six items: three groups far apart, two close items in each.
fn rows() -> Matrix {
    let row = |i: usize| {
        (0..4).map(move |j| {
            if j == i / 2 {
                8.0
            } else if j == 3 {
                [-1.0, 1.0][i % 2]
            } else {
                0.0
            }
        })
    };
    Matrix::from_vec(6, 4, (0..6).flat_map(row).collect()).expect("rows")
}

fn cosine(a: &[f32], b: &[f32], mean: &[f64]) -> f64 {
    let less = |v: &[f32]| -> Vec<f64> { v.iter().zip(mean).map(|(v, m)| f64::from(*v) - m).collect() };
    let (a, b) = (less(a), less(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

#[test]
fn codes_begin_beside_the_words_of_their_items() {
    let codec = codec();
    for (name, tables) in
        [("llama", &["model.embed_tokens.weight"][..]), ("qwen2", &["model.embed_tokens.weight", "lm_head.weight"])]
    {
        let mut model = load(name);
        let first = model.tokenizer().tokens();
        let bundle = bundle(first);
        let chats = chats(&codec, &rows(), first as u32);
        assert!(error(model.place_id_tokens(&bundle, &codec, &chats)).contains("not been given the tokens"));
        assert!(!model.has_id_tokens(&bundle).expect("read"));
        model.add_id_tokens(&bundle).expect("added");
        assert!(model.has_id_tokens(&bundle).expect("read"));
        let before: Vec<Matrix> = tables.iter().map(|t| added::table(&model, t)).collect();
        let map = model.place_id_tokens(&bundle, &codec, &chats).expect("placed");
        assert_eq!(map.chats, 12);
        assert!(map.explained > 0.9 && map.explained <= 1.0, "{map:?}");
        for (name, before) in tables.iter().zip(before) {
            let after = added::table(&model, name);
            let mean = added::mean(&before, first);
            let d = before.dims();
            // Words, the special token and the counter stay.
            assert_eq!(before.as_slice()[..(first + 1) * d], after.as_slice()[..(first + 1) * d]);
            assert_eq!(before.row(first + 6), after.row(first + 6));
            // Each code of the first level lies nearer to its group's word than the others do.
            let codes = codec.encode(&rows()).expect("codes");
            for group in 0..3usize {
                let word = before.row(70 + group);
                let near: Vec<f64> = (0..3).map(|code| cosine(after.row(first + 1 + code), word, &mean)).collect();
                let own = codes.row(2 * group)[0] as usize;
                assert!((0..3).all(|code| code == own || near[code] < near[own]), "{group}: {near:?}, {own}");
            }
            // As far from the mean as words are.
            let spread = |rows: std::ops::Range<usize>| {
                let squares = rows.clone().flat_map(|row| before.row(0).iter().enumerate().map(move |(j, _)| (row, j)));
                let sum: f64 = squares.map(|(row, j)| (f64::from(after.row(row)[j]) - mean[j]).powi(2)).sum();
                (sum / rows.len() as f64).sqrt()
            };
            let (words, level) = (spread(0..first), spread(first + 1..first + 4));
            assert!((level / words - 1.0).abs() < 1e-3, "{level} {words}");
        }
    }
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let (codec, mut model) = (codec(), load("llama"));
    let first = model.tokenizer().tokens();
    let bundle = bundle(first);
    model.add_id_tokens(&bundle).expect("added");
    let chats = chats(&codec, &rows(), first as u32);
    let before = added::table(&model, "model.embed_tokens.weight");
    assert!(error(model.place_id_tokens(&bundle, &codec, &chats[..1])).contains("on fewer than 2"));
    // A chat about two items is about neither.
    let both = ChatTokens { tokens: [&chats[0].tokens[..], &chats[2].tokens].concat(), learned: vec![1] };
    assert!(error(model.place_id_tokens(&bundle, &codec, &[both.clone(), both])).contains("0 of 2 chats"));
    let settings = RqKMeans { codebook_sizes: vec![4, 4], ..RqKMeans::default() };
    let other = Codec::train(&rows(), &settings, &Device::cpu(), &()).expect("a codec");
    let problem = error(model.place_id_tokens(&bundle, &other, &chats));
    assert!(problem.contains("has 6 tokens of codes") && problem.contains("[4, 4] need 8"), "{problem}");
    assert_eq!(before.as_slice(), added::table(&model, "model.embed_tokens.weight").as_slice());
}
