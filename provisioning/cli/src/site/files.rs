//! Files: read whole, written whole (a new file takes the old one's place or nothing changes).

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::output::Failure;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// It was not there.
    New,
    /// It held these bytes already.
    Same,
    /// It held others.
    Changed,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::New => "wrote",
            Self::Same => "kept",
            Self::Changed => "changed",
        })
    }
}

/// Writes a public file, with its folder.
///
/// # Errors
/// Environment.
pub fn write(path: &Path, bytes: &[u8]) -> Result<Written, Failure> {
    let written = match fs::read(path) {
        Ok(old) if old == bytes => return Ok(Written::Same),
        Ok(_) => Written::Changed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Written::New,
        Err(error) => return Err(Failure::file(path, &error)),
    };
    replace(path, bytes).map_err(|error| Failure::file(path, &error))?;
    Ok(written)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    // What an interrupted write left, or what somebody put there for this write to follow.
    let _ = fs::remove_file(&draft);
    let result = fs::File::create_new(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path))
        // The new name is durable too before anything is built on it.
        .and_then(|()| fs::File::open(folder).and_then(|folder| folder.sync_all()));
    if result.is_err() {
        let _ = fs::remove_file(&draft);
    }
    result
}

/// Refuses to write in the place of a file that is needed: a share file is there once.
///
/// # Errors
/// Environment: `path` is one of `needed`.
pub fn not_in_place_of(path: &Path, needed: &[&Path]) -> Result<(), Failure> {
    let Ok(found) = fs::canonicalize(path) else { return Ok(()) };
    match needed.iter().find(|needed| fs::canonicalize(needed).is_ok_and(|n| n == found)) {
        None => Ok(()),
        Some(needed) => Err(Failure::environment(
            "in-place-of",
            format!("{} would be written over", needed.display()),
        )
        .expected("another name for what is written")
        .found(path.display())
        .next("name another file; nothing was written")),
    }
}

/// Writes a public value as JSON for people and programs.
///
/// # Errors
/// Environment.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<Written, Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::environment("json", error.to_string()))?;
    text.push('\n');
    write(path, text.as_bytes())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::file(path, &error))
}

/// Reads a file that others may have written, no further than `limit` bytes.
///
/// # Errors
/// Refused: it is larger. Environment: it cannot be read.
pub fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > limit {
        return Err(Failure::refused("file-too-large", path.display().to_string())
            .expected(format_args!("at most {limit} bytes"))
            .next("this is another file than you think: look at where it came from"));
    }
    Ok(bytes)
}

pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file(path, &error))
}

/// Files of a folder with this extension, in order; none where there is no folder.
pub(super) fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.extension().is_some_and(|e| e == extension) && path.is_file());
    Ok(paths)
}

/// Folders of a folder, in order.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    match read() {
        Ok(mut paths) => {
            paths.sort();
            // Drafts of an interrupted write.
            paths.retain(|path| {
                path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
            });
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::file(folder, &error)),
    }
}
