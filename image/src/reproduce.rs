//! Compares a published manifest with one that was built here, and says where two images part: in which
//! section, and which source or tool was another.

use casemate_formats::manifest::{Manifest, Product, ProductFile};

/// What differs, in words; empty: the same image, byte for byte before it is signed.
#[must_use]
pub fn differences(published: &Manifest, rebuilt: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, expected: &str, here: &str| {
        if expected != here {
            found.push(format!("{what}: published {expected}, rebuilt {here}"));
        }
    };
    differ("unsigned UKI", &hash(published), &hash(rebuilt));
    differ("pcr11", &published.pcr11.to_string(), &rebuilt.pcr11.to_string());
    let authenticode = |m: &Manifest| m.authenticode.to_string();
    differ("authenticode", &authenticode(published), &authenticode(rebuilt));
    differ("anchors", &published.anchors.to_string(), &rebuilt.anchors.to_string());
    for (what, pairs) in [
        ("section", named(published, rebuilt, sections)),
        ("source", named(published, rebuilt, sources)),
        ("built with", named(published, rebuilt, packages)),
        ("product", named(published, rebuilt, products)),
    ]
    .into_iter()
    // Images of before products were named have none to compare.
    .filter(|(what, _)| *what != "product" || !published.products.is_empty())
    {
        for (name, expected, here) in pairs {
            differ(&format!("{what} {name}"), &expected, &here);
        }
    }
    found
}

type Named = Vec<(String, String)>;

/// Each name that either of them has, with what stands there in both.
fn named(
    published: &Manifest,
    rebuilt: &Manifest,
    of: impl Fn(&Manifest) -> Named,
) -> Vec<(String, String, String)> {
    let (published, rebuilt) = (of(published), of(rebuilt));
    let mut names: Vec<&String> = published.iter().chain(&rebuilt).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let value = |all: &Named, name: &str| {
        all.iter().find(|(n, _)| n == name).map_or("nothing", |(_, v)| v).to_owned()
    };
    let triple = |name: &String| (name.clone(), value(&published, name), value(&rebuilt, name));
    names.into_iter().map(triple).collect()
}

fn hash(manifest: &Manifest) -> String {
    manifest.unsigned.sha256.to_string()
}

fn sections(manifest: &Manifest) -> Named {
    let section = |s: &casemate_formats::manifest::Section| (s.name.clone(), s.sha256.to_string());
    manifest.sections.iter().map(section).collect()
}

fn sources(manifest: &Manifest) -> Named {
    let source = |s: &casemate_formats::manifest::Source| {
        (s.name.clone(), format!("{} ({})", s.version, s.sha256))
    };
    manifest.sources.iter().map(source).collect()
}

fn packages(manifest: &Manifest) -> Named {
    let package = |p: &casemate_formats::manifest::Package| (p.name.clone(), p.version.clone());
    manifest.packages.iter().map(package).collect()
}

fn products(manifest: &Manifest) -> Named {
    let files = |p: &Product| {
        let recipe = (format!("{} recipe", p.name), p.recipe.clone());
        let file = |f: &ProductFile| (format!("{}/{}", p.name, f.name), f.sha256.to_string());
        std::iter::once(recipe).chain(p.files.iter().map(file)).collect::<Vec<_>>()
    };
    manifest.products.iter().flat_map(files).collect()
}

#[cfg(test)]
mod tests {
    use casemate_formats::digest::Digest;

    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(include_str!("../../provisioning/formats/testdata/manifest.json")).unwrap()
    }

    #[test]
    fn the_same_image_has_no_difference_whoever_signed_it() {
        let (published, mut rebuilt) = (manifest(), manifest());
        rebuilt.signed = None;
        assert_eq!(differences(&published, &rebuilt), Vec::<String>::new());
    }

    #[test]
    fn another_recipe_or_file_of_a_product_is_named_but_not_where_none_were_published() {
        let (mut published, mut rebuilt) = (manifest(), manifest());
        let file = ProductFile { name: "config".into(), bytes: 1, sha256: Digest::sha256(b"y") };
        let linux = Product { name: "linux".into(), recipe: "one".into(), files: vec![file] };
        rebuilt.products = vec![linux.clone()];
        assert_eq!(differences(&published, &rebuilt), Vec::<String>::new());
        published.products = vec![Product { recipe: "other".into(), ..linux }];
        rebuilt.products[0].files[0].sha256.0[0] ^= 1;
        let found = differences(&published, &rebuilt);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("product linux recipe: published other"), "{found:?}");
        assert!(found[1].starts_with("product linux/config"), "{found:?}");
    }

    #[test]
    fn a_section_and_the_tool_that_made_it_are_named() {
        let (published, mut rebuilt) = (manifest(), manifest());
        rebuilt.sections[0].sha256.0[0] ^= 1;
        rebuilt.packages.remove(0);
        let found = differences(&published, &rebuilt);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(&format!("section {}", published.sections[0].name)));
        assert!(found[1].contains("rebuilt nothing"), "{found:?}");
    }
}
