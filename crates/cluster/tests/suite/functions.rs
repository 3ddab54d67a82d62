//! The functions in SQL.

use crate::support::{DIMS, Kept, block, codec, column, error, every_kind, rows, saved, write};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, ListArray, StringArray,
};
use datafusion::arrow::datatypes::{Field, Float32Type, UInt32Type};
use datafusion::prelude::SessionContext;
use std::path::Path;
use std::sync::Arc;

async fn query(folder: &Path, sql: &str) -> datafusion::error::Result<Vec<datafusion::arrow::array::RecordBatch>> {
    let context = SessionContext::new();
    sememe_cluster::register(&context);
    context.register_parquet("items", &*folder.join("items.parquet").to_string_lossy(), Default::default()).await?;
    context.sql(sql).await?.collect().await
}

#[test]
fn every_kind_of_codec_and_column_encodes_and_decodes_as_the_library_does() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(300, 1);
    for (name, codec) in every_kind(&rows) {
        let place = saved(&codec, folder.path(), "codec");
        let hash = codec.content_hash();
        let want = codec.encode(&rows).expect("encoded");
        for kept in [Kept::Fixed32, Kept::List32, Kept::List64, Kept::Fixed16] {
            let want = if kept == Kept::Fixed16 {
                let halves = rows.as_slice().iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
                codec.encode(&sememe::Matrix::from_vec(300, DIMS, halves).expect("shape")).expect("encoded")
            } else {
                want.clone()
            };
            let number = Arc::new(Int32Array::from_iter_values(0..300)) as ArrayRef;
            let columns = vec![("number", number), ("embedding", column(rows.as_slice(), DIMS, kept))];
            write(&folder.path().join("items.parquet"), columns);
            let sql = format!(
                "select codes, semantic_decode(codes, '{place}', '{hash}') as back, semantic_key(codes) as bytes \
                 from (select number, semantic_id(embedding, '{place}', '{hash}') as codes from items) order by number"
            );
            let found = block(query(folder.path(), &sql)).unwrap_or_else(|e| panic!("{name}, {kept:?}: {e}"));
            let found = datafusion::arrow::compute::concat_batches(&found[0].schema(), &found).expect("one");
            let codes = found.column(0).as_list::<i32>();
            assert_eq!(codes.values().as_primitive::<UInt32Type>().values(), want.as_slice(), "{name}, {kept:?}");
            let back = found.column(1).as_list::<i32>();
            let decoded = codec.decode(&want).expect("decoded");
            assert_eq!(back.values().as_primitive::<Float32Type>().values(), decoded.as_slice(), "{name}, {kept:?}");
            let bytes: Vec<u8> = want.row(7).iter().flat_map(|code| code.to_be_bytes()).collect();
            assert_eq!(found.column(2).as_binary::<i32>().value(7), bytes);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_the_row_and_both_hashes() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(100, 2);
    let codec = codec(&rows);
    let place = saved(&codec, folder.path(), "codec");
    let hash = codec.content_hash();
    let ask = |columns: Vec<(&str, ArrayRef)>, sql: &str| {
        write(&folder.path().join("items.parquet"), columns);
        error(block(query(folder.path(), sql)))
    };
    let names = || Arc::new(StringArray::from_iter_values((0..100).map(|i| format!("thing {i}")))) as ArrayRef;
    let good = || column(rows.as_slice(), DIMS, Kept::Fixed32);
    let sql = format!("select semantic_id(embedding, '{place}', '{hash}', name) from items");

    let mut values = rows.as_slice().to_vec();
    values[41 * DIMS + 3] = f32::NAN;
    values[77 * DIMS] = f32::INFINITY;
    let said = ask(vec![("name", names()), ("embedding", column(&values, DIMS, Kept::List32))], &sql);
    assert!(said.contains("2 of 100 embeddings of a batch hold NaN, infinity"), "{said}");
    assert!(said.contains("row 41 of a batch of 100, `thing 41`"), "{said}");

    // Past the largest float32.
    let mut wide: Vec<f64> = rows.as_slice().iter().map(|v| f64::from(*v)).collect();
    wide[5 * DIMS] = 1e300;
    let inner = Arc::new(datafusion::arrow::array::Float64Array::from(wide));
    let item = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
    let wide = Arc::new(FixedSizeListArray::try_new(item, DIMS as i32, inner, None).expect("column"));
    let said = ask(vec![("name", names()), ("embedding", wide)], &sql);
    assert!(said.contains("1 of 100") && said.contains("`thing 5`"), "{said}");

    let missing = ListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..100).map(|i| (i != 9).then(|| rows.row(i).iter().map(|v| Some(*v)).collect::<Vec<_>>())),
    );
    let said = ask(vec![("name", names()), ("embedding", Arc::new(missing))], &sql);
    assert!(said.contains("1 of 100 embeddings are null, the first is row 9 of a batch of 100, `thing 9`"), "{said}");

    let hole = ListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..100).map(|i| Some(rows.row(i).iter().enumerate().map(move |(c, v)| (i != 8 || c != 2).then_some(*v)))),
    );
    let said = ask(vec![("name", names()), ("embedding", Arc::new(hole))], &sql);
    assert!(said.contains("a value that is null, in row 8 of a batch of 100, `thing 8`"), "{said}");

    let ragged = ListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..100).map(|i| Some(rows.row(i).iter().take(if i == 3 { 5 } else { DIMS }).map(|v| Some(*v)))),
    );
    let said = ask(vec![("name", names()), ("embedding", Arc::new(ragged))], &sql);
    assert!(said.contains(&format!("expected embeddings of {DIMS} values, got 5 in row 3")), "{said}");

    let other = Arc::new(Int32Array::from_iter_values(0..100)) as ArrayRef;
    let said = ask(vec![("name", names()), ("embedding", other)], &sql);
    assert!(said.contains("got a column of Int32"), "{said}");
    let whole = ListArray::from_iter_primitive::<UInt32Type, _, _>((0..100).map(|_| Some(vec![Some(1); DIMS])));
    let said = ask(vec![("name", names()), ("embedding", Arc::new(whole))], &sql);
    assert!(said.contains("lists of float32, float64 or float16, got a column of List"), "{said}");

    let wrong = "0".repeat(64);
    let said = ask(vec![("name", names()), ("embedding", good())], &sql.replace(hash, &wrong));
    assert!(said.contains(hash) && said.contains(&wrong), "{said}");
    let said = ask(
        vec![("name", names()), ("embedding", good())],
        &sql.replace(&place, "/nowhere/codec.safetensors").replace(hash, &wrong),
    );
    assert!(said.contains("/nowhere/codec.safetensors"), "{said}");
    let said = ask(vec![("name", names()), ("embedding", good())], &sql.replace(&format!("'{hash}'"), "name"));
    assert!(said.contains("the codec's hash is a text in the query itself"), "{said}");
    let said = ask(vec![("name", names()), ("embedding", good())], "select semantic_id(embedding) from items");
    assert!(said.contains("got 1 arguments"), "{said}");
    let decode = format!("select semantic_decode([99, 0, 0], '{place}', '{hash}') from items");
    let said = ask(vec![("name", names()), ("embedding", good())], &decode);
    assert!(said.contains("99"), "{said}");
    let said = ask(vec![("name", names()), ("embedding", good())], "select semantic_key([-1]) from items");
    assert!(said.contains("negative"), "{said}");
}

#[test]
fn a_slice_of_a_column_is_read_where_it_begins() {
    // A filter makes the engine hand over parts of arrays.
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(100, 3);
    let codec = codec(&rows);
    let (place, hash) = (saved(&codec, folder.path(), "codec"), codec.content_hash().to_owned());
    let context = SessionContext::new();
    sememe_cluster::register(&context);
    for kept in [Kept::Fixed32, Kept::List32, Kept::List64] {
        let whole = column(rows.as_slice(), DIMS, kept);
        let values = Arc::new(Float32Array::from(vec![0.0; 60])) as ArrayRef;
        let part = datafusion::arrow::array::RecordBatch::try_from_iter(vec![
            ("v", values),
            ("embedding", whole.slice(30, 60)),
        ]);
        let table = format!("t{kept:?}").to_lowercase();
        context.register_batch(&table, part.expect("batch")).expect("registered");
        let sql = format!("select semantic_id(embedding, '{place}', '{hash}') from {table}");
        let found = block(async { context.sql(&sql).await?.collect().await }).expect("encoded");
        let want = codec.encode(rows.view().slice(30, 90)).expect("encoded");
        let codes = found[0].column(0).as_list::<i32>().values().as_primitive::<UInt32Type>().values().to_vec();
        assert_eq!(codes, want.as_slice(), "{kept:?}");
    }
}
