//! Is a page well formed?

/// Panics unless every tag closes in order, every attribute is quoted or bare, and every `&` starts an entity.
pub fn assert_well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "input", "br"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a loose > in {text:?}");
        for (i, _) in text.match_indices('&') {
            let entity = text[i + 1..].split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "entity {entity:?}");
        }
        // The end of a tag is the first > outside quotes.
        let tag_text = &rest[at + 1..];
        let mut quoted = false;
        let end = tag_text.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let end = end.expect("a tag ends");
        let tag = &tag_text[..end];
        rest = &tag_text[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "at </{name}>");
            continue;
        }
        assert!(!tag.contains('<'), "a tag in a tag: {tag:?}");
        let name = tag.split([' ', '/']).next().unwrap().to_string();
        if tag.ends_with('/') || VOID.contains(&name.as_str()) {
            continue;
        }
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).expect("raw text ends")..];
        }
        open.push(name);
    }
    assert_eq!(open, Vec::<String>::new(), "left open");
}

/// A page without what is packed, whose base64 says anything.
pub fn shell(page: &str) -> String {
    let Some(begin) = page.find("<script id=\"items\"") else { return page.to_owned() };
    let end = begin + page[begin..].find("</script>").expect("an end");
    format!("{}{}", &page[..begin], &page[end + 9..])
}

#[test]
fn the_check_of_tags_rejects() {
    for bad in ["<p><b></p></b>", "<p>", "<p>a & b</p>", "<p>a > b</p>", "</p>"] {
        let page = format!("<!doctype html>{bad}");
        assert!(std::panic::catch_unwind(|| assert_well_formed(&page)).is_err(), "{bad}");
    }
    assert_well_formed("<!doctype html><p title=\"a > b\">1 &lt; 2<br><svg><path d=\"M0\"/></svg></p>");
}
