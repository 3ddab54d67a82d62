//! Parses an endpoint's response: vectors in the order of the texts, or the server's error message.

use serde::Deserialize;
use serde_json::Value;

use sememe::data::Matrix;

#[derive(Deserialize)]
struct EmbeddingResponse {
    data: Vec<EmbeddingDatum>,
}

#[derive(Deserialize)]
struct EmbeddingDatum {
    /// Which text it is of; servers that leave it out keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Vectors `[texts, dims]` in the order of the texts, or what is wrong with the answer.
pub(super) fn vectors(body: &[u8], texts: usize) -> Result<Matrix, String> {
    let answer: EmbeddingResponse = serde_json::from_slice(body).map_err(|e| match words(body) {
        Some(said) => format!("answered without vectors: {said}"),
        None if overflowed(body, &e) => format!(
            "answered with values that are no finite numbers ({e}); a model that runs in half precision may need float32: {}",
            start(body)
        ),
        None => format!("answered with something else than vectors ({e}): {}", start(body)),
    })?;
    let got = answer.data.len();
    if got != texts {
        return Err(format!("returned {got} vectors for {texts} texts"));
    }
    let dims = answer.data.first().map_or(0, |first| first.embedding.len());
    let mut matrix = Matrix::zeros(texts, dims).map_err(|e| e.to_string())?;
    let mut seen = vec![false; texts];
    for (at, datum) in answer.data.iter().enumerate() {
        let row = datum.index.unwrap_or(at);
        if row >= texts || std::mem::replace(&mut seen[row], true) {
            return Err(format!("returned `index` {row} out of turn, expected each of 0 to {} once", texts - 1));
        }
        if datum.embedding.len() != dims || dims == 0 {
            let wrong = datum.embedding.len();
            return Err(format!("returned vectors of {dims} and of {wrong} values in one answer"));
        }
        matrix.row_mut(row).copy_from_slice(&datum.embedding);
    }
    Ok(matrix)
}

/// Whether an answer is no vectors because of what servers make of NaN and infinity: `NaN`, `Infinity`, null or a huge number.
fn overflowed(body: &[u8], e: &serde_json::Error) -> bool {
    let (said, text) = (e.to_string(), String::from_utf8_lossy(body));
    said.contains("out of range")
        || said.contains("null, expected f32")
        || text.contains("NaN")
        || text.contains("Infinity")
}

/// The message of an error as servers word it: OpenAI and vLLM in `error.message`, TEI and Ollama in `error`, FastAPI in `detail`.
pub(super) fn words(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let places = ["/error/message", "/error", "/message", "/detail"];
    let found = places.iter().find_map(|place| value.pointer(place).filter(|v| !v.is_null()))?;
    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    Some(start(text.as_bytes()))
}

/// OpenAI's code for an account without credit, which it sends with 429: no wait helps.
pub(super) fn out_of_credit(body: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let code = |place| value.as_ref().and_then(|v| v.pointer(place)).and_then(Value::as_str);
    code("/error/code") == Some("insufficient_quota") || code("/error/type") == Some("insufficient_quota")
}

/// The first 200 characters, in one line.
pub(super) fn start(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(1000)]);
    let text: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let text = text.join(" ");
    if text.chars().count() > 200 { format!("{}…", text.chars().take(200).collect::<String>()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_put_in_the_order_of_the_texts() {
        let body = br#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2.5]}],"model":"m"}"#;
        assert_eq!(vectors(body, 2).expect("vectors").as_slice(), [1.0, 2.5, 3.0, 4.0]);
        let body = br#"{"data":[{"embedding":[3]},{"embedding":[1]}]}"#;
        assert_eq!(vectors(body, 2).expect("vectors").as_slice(), [3.0, 1.0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases: [(&str, &str); 11] = [
            (r#"{"data":[{"embedding":[1]}]}"#, "returned 1 vectors for 2 texts"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#, "`index` 0 out of turn"),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":7,"embedding":[1]}]}"#, "`index` 7 out of turn"),
            (r#"{"data":[{"embedding":[1]},{"embedding":[1,2]}]}"#, "of 1 and of 2 values"),
            (r#"{"data":[{"embedding":[]},{"embedding":[]}]}"#, "of 0 and of 0 values"),
            (r#"{"data":[{"embedding":[null]},{"embedding":[1]}]}"#, "no finite numbers"),
            (r#"{"data":[{"embedding":[1]},{"embedding":[1e99]}]}"#, "no finite numbers"),
            (r#"{"data":[{"embedding":[1]},{"embedding":[-Infinity]}]}"#, "no finite numbers"),
            (r#"{"data":[{"embedding":[1]},{"embedding":"AACAPw=="}]}"#, "something else than vectors"),
            (r#"{"error":{"message":"no such model","code":null}}"#, "answered without vectors: no such model"),
            ("<html>\n<h1>502", "<html> <h1>502"),
        ];
        for (body, part) in cases {
            let problem = vectors(body.as_bytes(), 2).expect_err(body);
            assert!(problem.contains(part), "{part:?} is not in {problem:?}");
        }
        assert_eq!(words(br#"{"error":"too long","error_type":"Validation"}"#).as_deref(), Some("too long"));
        assert_eq!(words(br#"{"detail":[{"msg":"x"}]}"#).as_deref(), Some(r#"[{"msg":"x"}]"#));
        assert_eq!(words(b"no"), None);
        assert_eq!(start("ä".repeat(300).as_bytes()).chars().count(), 201);
        assert!(out_of_credit(br#"{"error":{"code":"insufficient_quota"}}"#));
        assert!(!out_of_credit(br#"{"error":{"code":"rate_limit_exceeded"}}"#));
    }
}
