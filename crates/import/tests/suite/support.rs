//! Fixtures, and codes compared with those of the system that made them.

use sememe::compute::reference::{Reference, Scratch};
use sememe::io::{OpenOptions, open, read_codes};
use sememe::{Codec, Codes, Matrix};
use sememe_import::{Content, ImportOptions, Imported, import};
use std::path::{Path, PathBuf};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn matrix(name: &str) -> Matrix {
    let source = open(fixture(name), &OpenOptions::default()).expect(name);
    let mut values = vec![0.0; source.rows() * source.dims()];
    source.read_rows(0, &mut values).expect(name);
    Matrix::from_vec(source.rows(), source.dims(), values).expect(name)
}

/// The rows that all fixtures' codes are of.
pub fn rows() -> Matrix {
    matrix("rows.npy")
}

pub fn imported(name: &str, options: &ImportOptions) -> Imported {
    import(fixture(name), options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub fn codec(imported: &Imported) -> Codec {
    match &imported.content {
        Content::Codec(codec) => codec.clone(),
        Content::Ids(_) => panic!("a table"),
    }
}

pub fn notes(imported: &Imported) -> String {
    imported.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// How far two scores of one row may be apart to be a tie of float32, in proportion to their size.
const TIE: f64 = 1e-5;

/// Asserts that a codec gives a system's codes, and says how many rows are ties: two codewords whose scores float32 cannot tell apart, of
/// which the system took another one.
pub fn ties(name: &str, codec: &Codec, theirs: &Codes) -> usize {
    let rows = rows();
    let ours = codec.encode(&rows).expect(name);
    assert_eq!((ours.rows(), ours.levels()), (theirs.rows(), theirs.levels()), "{name}");
    let exact = codec.encode_reference(&rows, codec.manifest().beam).expect(name);
    assert_eq!(ours, exact, "{name}: what is fast and what is exact differ");
    let quantizer = codec.quantizer();
    let (reference, mut scratch, mut count) = (Reference::new(quantizer), Scratch::default(), 0);
    for i in 0..rows.rows() {
        let (our, their) = (ours.row(i), theirs.row(i));
        let Some(level) = (0..our.len()).find(|l| our[*l] != their[*l]) else { continue };
        let mut left = reference.enter(quantizer, rows.row(i), &mut scratch).to_vec();
        let unit = |left: &mut Vec<f64>| {
            let norm = left.iter().map(|v| v * v).sum::<f64>().sqrt();
            left.iter_mut().for_each(|v| *v /= norm);
        };
        for (l, code) in our[..level].iter().enumerate() {
            if quantizer.normalize_residuals {
                unit(&mut left);
            }
            let codeword = quantizer.codebooks[l].row(*code as usize);
            left[quantizer.columns(l)].iter_mut().zip(codeword).for_each(|(v, c)| *v -= f64::from(*c));
        }
        if quantizer.normalize_residuals {
            unit(&mut left);
        }
        let mut scores = [0.0; 2];
        reference.scores(quantizer, level, &left, &[our[level], their[level]], &mut scores);
        let size = left.iter().map(|v| v * v).sum::<f64>() + 1.0;
        assert!(
            (scores[0] - scores[1]).abs() <= TIE * size,
            "{name}: row {i}, level {level}: {our:?}, there {their:?}, scores {scores:?}"
        );
        println!("{name}: row {i}, level {level} is a tie: {} or {}, {scores:?}", our[level], their[level]);
        count += 1;
    }
    count
}

pub fn codes(name: &str) -> Codes {
    read_codes(fixture(name)).expect(name)
}

/// Asserts that decoding a system's codes gives what it decodes them to.
pub fn decodes(name: &str, codec: &Codec, theirs: &Codes, decoded: &Matrix) {
    let ours = codec.decode(theirs).expect(name);
    assert_eq!((ours.rows(), ours.dims()), (decoded.rows(), decoded.dims()), "{name}");
    for (at, (a, b)) in ours.as_slice().iter().zip(decoded.as_slice()).enumerate() {
        assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "{name}: value {at}: {a}, there {b}");
    }
}
