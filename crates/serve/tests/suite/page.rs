//! The page's files.

use crate::desk::Desk;
use std::fs;
use std::path::Path;

#[test]
fn every_file_of_the_page_is_served_with_a_strict_policy() {
    let desk = Desk::new();
    let service = desk.serve();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
    let mut names = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let answer = service.get(&if name == "index.html" { "/".to_owned() } else { format!("/{name}") }).ok();
        assert_eq!(answer.body, fs::read(&path).unwrap(), "{name}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            other => panic!("`.{other}`: what is it?"),
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{name}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // Who has it already is told that it has.
        let tag = answer.header("etag").unwrap();
        let again = service.get_with(&format!("/{name}"), &[("if-none-match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
        names += 1;
    }
    assert!(names >= 3, "{names}");
}
