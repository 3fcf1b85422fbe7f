//! Order, bounds and the return of memory and disk.

use std::time::Duration;

use rustix::fs::fstat;

use super::*;

const BLOCK: usize = 4096;

fn directory() -> Arc<SpillDir> {
    Arc::new(SpillDir::open(Path::new("/var/tmp")).unwrap())
}

/// Blocks that name their place, so that a lost or doubled one shows; both numbers in whole blocks.
fn pattern(offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (place, block) in (offset..).step_by(BLOCK).zip(bytes.chunks_exact_mut(BLOCK)) {
        block[..8].copy_from_slice(&place.to_le_bytes());
    }
    bytes
}

fn disk_bytes(writer: &Writer) -> Option<u64> {
    let queue = writer.shared.lock();
    queue
        .overflow
        .as_ref()
        .map(|overflow| fstat(&overflow.file).unwrap().st_blocks.cast_unsigned() * 512)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn expect(reader: &mut Reader, offset: &mut u64, until: u64) {
    while *offset < until {
        let bytes = reader.next().await.unwrap().unwrap();
        assert!(bytes.len() <= MEMORY);
        assert!(
            bytes[..] == pattern(*offset, bytes.len()),
            "wrong bytes at {offset}"
        );
        *offset += bytes.len() as u64;
    }
}

#[tokio::test]
async fn a_gibibyte_passes_in_order_with_flat_memory_and_returned_disk() {
    const PACKET: usize = 32 * 1024;
    const TOTAL: u64 = 1 << 30;
    let (writer, mut reader) = spill(directory(), CAPACITY);
    let before = resident_bytes();
    for packet in 0..TOTAL / PACKET as u64 {
        writer
            .push(&pattern(packet * PACKET as u64, PACKET))
            .unwrap();
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    assert!(
        disk_bytes(&writer).unwrap() > TOTAL - (2 << 20),
        "the bytes are on disk"
    );

    let mut offset = 0;
    expect(&mut reader, &mut offset, TOTAL / 2).await;
    let half = disk_bytes(&writer).unwrap();
    assert!(
        half < TOTAL / 2 + (16 << 20),
        "{half} bytes of disk for half of the data"
    );
    expect(&mut reader, &mut offset, TOTAL).await;
    assert_eq!((offset, disk_bytes(&writer)), (TOTAL, None));
    writer.finish();
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test]
async fn what_fits_in_memory_makes_no_file() {
    let (writer, mut reader) = spill(directory(), CAPACITY);
    writer.push(&pattern(0, MEMORY)).unwrap();
    assert_eq!(disk_bytes(&writer), None);
    writer.push(b"x").unwrap();
    assert!(disk_bytes(&writer).is_some());
    assert_eq!(reader.next().await.unwrap().unwrap().len(), MEMORY);
    assert_eq!(reader.next().await.unwrap().unwrap()[..], b"x"[..]);
}

#[tokio::test]
async fn order_holds_while_both_ends_move_between_memory_and_file() {
    let (writer, mut reader) = spill(directory(), CAPACITY);
    let (mut written, mut read) = (0, 0);
    for round in 0..400_u64 {
        let length = (round * 7919 % 120_000) as usize / BLOCK * BLOCK;
        writer.push(&pattern(written, length)).unwrap();
        written += length as u64;
        if round % 5 == 4 {
            let until = if round % 50 == 49 {
                written
            } else {
                (read + 200_000).min(written)
            };
            expect(&mut reader, &mut read, until).await;
        }
    }
    expect(&mut reader, &mut read, written).await;
    assert_eq!(read, written);
}

#[tokio::test]
async fn a_waiting_reader_wakes_for_bytes_and_for_the_end() {
    let (writer, mut reader) = spill(directory(), CAPACITY);
    let reading = tokio::spawn(async move {
        let first = reader.next().await.unwrap();
        (first, reader.next().await.unwrap())
    });
    tokio::task::yield_now().await;
    writer.push(b"hello").unwrap();
    tokio::task::yield_now().await;
    writer.finish();
    let (first, end) = tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.as_deref(), end), (Some(&b"hello"[..]), None));
}

#[tokio::test]
async fn past_the_capacity_nothing_is_taken() {
    let (writer, mut reader) = spill(directory(), 1 << 20);
    writer.push(&pattern(0, MEMORY)).unwrap();
    writer.push(&pattern(MEMORY as u64, 1 << 20)).unwrap();
    assert!(matches!(writer.push(b"x"), Err(SpillError::Full(_))));
    let mut offset = 0;
    expect(&mut reader, &mut offset, MEMORY as u64 + (1 << 20)).await;
    writer.push(b"there is room again").unwrap();
}

#[tokio::test]
async fn without_its_reader_it_takes_everything_and_keeps_nothing() {
    let (writer, reader) = spill(directory(), 1 << 20);
    writer.push(&pattern(0, 1 << 20)).unwrap();
    assert!(disk_bytes(&writer).is_some());
    drop(reader);
    assert_eq!(disk_bytes(&writer), None);
    for _ in 0..8 {
        writer.push(&pattern(0, 1 << 20)).unwrap();
    }
    assert_eq!(disk_bytes(&writer), None);
    assert_eq!(writer.shared.lock().memory.len(), 0);
}

#[test]
fn a_directory_that_cannot_spill_is_refused() {
    assert!(matches!(
        SpillDir::open(Path::new("/nonexistent")),
        Err(SpillError::Directory { .. })
    ));
    assert!(matches!(
        SpillDir::open(Path::new("/proc")),
        Err(SpillError::Unfit { .. })
    ));
}
