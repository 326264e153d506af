//! Packs: the reader gives the same however the bytes are cut, and only what hashes to its id.
//!
//! The first byte says whether ids are put right and how the pack is cut into pieces.
#![no_main]

use std::borrow::Cow;

use fsync_core::id::{ObjectId, RevisionId};
use fsync_core::node::Node;
use fsync_core::pack::{self, PackError, PackReader, PackWriter, Record};
use fsync_core::revision::Revision;
use fsync_fuzz::bytes::Bytes;
use fsync_fuzz::mend;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes(data);
    let choice = input.byte();
    let pack = match choice & 1 {
        0 => Cow::Borrowed(input.0),
        _ => Cow::Owned(mend::mend(input.0)),
    };
    let whole = pack::read_all(&pack);
    let piece = 1 + usize::from(choice >> 1);
    let pieces = read_pieces(&pack, piece);
    assert_eq!(whole, pieces, "pieces of {piece} bytes read otherwise");
    let Ok(records) = whole else { return };
    records.iter().for_each(check);
    // Nothing of a pack is left out by its reader: written again it is the same.
    assert_eq!(write(&records), *pack);
});

fn read_pieces(pack: &[u8], piece: usize) -> Result<Vec<Record>, PackError> {
    let mut reader = PackReader::default();
    let mut records = Vec::new();
    for piece in pack.chunks(piece) {
        reader.feed(piece);
        while let Some(record) = reader.next_record()? {
            records.push(record);
        }
    }
    reader.finish()?;
    Ok(records)
}

/// Checks the id, and that what it names can be handed to the next decoder.
fn check(record: &Record) {
    match record {
        Record::Object(object) => {
            assert_eq!(object.id, ObjectId::of(object.kind, &object.bytes));
            if let Ok(node) = Node::decode(object.kind, &object.bytes) {
                assert_eq!(node.encode().0, object.id);
            }
        }
        Record::Revision(id, bytes) => {
            assert_eq!(*id, RevisionId::of(bytes));
            if let Ok(revision) = Revision::decode(bytes) {
                assert_eq!(revision.encode().0, *id);
            }
        }
    }
}

fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = PackWriter::new();
    for record in records {
        match record {
            Record::Object(object) => {
                writer.push_object(object.clone());
            }
            Record::Revision(id, bytes) => writer.push_revision(id, bytes),
        }
    }
    writer.finish()
}
