//! How secrets get from the keeper to the gate: each time all of them, in one frame.

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::egress::{Secrets, Values};
use crate::model::{ProviderName, Secret, SecretKey};

/// The longest frame, in bytes: more than all secrets of any configuration that anybody has.
const LONGEST: usize = 64 << 20;

/// Secrets as the keeper has them.
pub(super) type Held = BTreeMap<ProviderName, BTreeMap<SecretKey, Secret>>;

/// Sends them all.
pub(super) fn send(mut gate: &UnixStream, held: &Held) -> io::Result<()> {
    let wire: BTreeMap<_, BTreeMap<_, _>> = held
        .iter()
        .map(|(provider, secrets)| {
            let secrets = secrets.iter().map(|(key, secret)| (key, secret.expose()));
            (provider, secrets.collect())
        })
        .collect();
    let frame = Zeroizing::new(postcard::to_allocvec(&wire).map_err(io::Error::other)?);
    if frame.len() > LONGEST {
        return Err(io::Error::other("the secrets together are too long"));
    }
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    gate.write_all(&length.to_le_bytes())?;
    gate.write_all(&frame)
}

/// Takes the first frame, which says that every source has been tried. What is given back takes the others
/// and ends with the keeper; without one, never.
pub(super) async fn attend(
    keeper: Option<UnixStream>,
    secrets: Arc<Secrets>,
) -> io::Result<impl Future<Output = io::Error>> {
    let keeper = keeper.map(tokio::net::UnixStream::from_std);
    let mut keeper = keeper.transpose()?;
    if let Some(keeper) = &mut keeper {
        secrets.replace(receive(keeper).await?);
    }
    Ok(async move {
        let Some(mut keeper) = keeper else {
            return pending().await;
        };
        loop {
            match receive(&mut keeper).await {
                Ok(values) => secrets.replace(values),
                Err(error) => return error,
            }
        }
    })
}

/// Takes the next frame.
async fn receive(keeper: &mut tokio::net::UnixStream) -> io::Result<Values> {
    type Wire = BTreeMap<ProviderName, BTreeMap<SecretKey, Zeroizing<Vec<u8>>>>;
    let length = usize::try_from(keeper.read_u32_le().await?).map_err(io::Error::other)?;
    if length > LONGEST {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    keeper.read_exact(&mut frame).await?;
    let wire: Wire = postcard::from_bytes(&frame).map_err(io::Error::other)?;
    let mut values = Values::new();
    for (provider, secrets) in wire {
        let mut taken = BTreeMap::new();
        for (key, bytes) in secrets {
            let secret = Secret::new(bytes).map_err(io::Error::other)?;
            taken.insert(key, Arc::new(secret));
        }
        values.insert(provider, taken);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_and_a_half_frame_is_an_error() {
        let (gate, keeper) = UnixStream::pair().unwrap();
        gate.set_nonblocking(true).unwrap();
        let mut gate = tokio::net::UnixStream::from_std(gate).unwrap();
        let name = |text: &str| text.to_owned();
        let secret =
            Secret::new(Zeroizing::new(b"s3cret".to_vec())).unwrap_or_else(|e| panic!("{e}"));
        let of_it = BTreeMap::from([(SecretKey::try_from(name("K")).unwrap(), secret)]);
        let held = Held::from([(ProviderName::try_from(name("p")).unwrap(), of_it)]);
        send(&keeper, &held).unwrap();
        let values = receive(&mut gate).await.unwrap();
        let (provider, secrets) = values.iter().next().unwrap();
        assert_eq!(provider.as_str(), "p");
        assert_eq!(secrets["K"].expose(), b"s3cret");
        (&keeper).write_all(&[9, 0, 0, 0, 1]).unwrap();
        drop(keeper);
        assert!(receive(&mut gate).await.is_err());
    }
}
