//! RFC 6962 Merkle trees over SHA-256: hashes, compact range, proofs and their checks.
//!
//! Enters: leaf hashes; leaves: roots, inclusion and consistency proofs. Deliberately absent: storage.
//! Source: RFC 6962 §2.1; RFC 9162 §2.1.3.2 and §2.1.4.2 for the checks.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Hash of an empty tree.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// `SHA256(0x00 ‖ data)`.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0u8]);
    hasher.update(data);
    hasher.finalize().into()
}

/// Initial state of SHA-256 (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256 over whole, already padded blocks: one call per leaf and node, without the buffer of a streaming hasher.
fn compress(blocks: &[[u8; 64]]) -> Hash {
    let mut state = INITIAL;
    sha2::block_api::compress256(&mut state, blocks);
    let mut out = [0u8; 32];
    for (slot, word) in out.chunks_exact_mut(4).zip(state) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// Padding of a message (FIPS 180-4 §5.1.1) up to its length.
const PADDING: [u8; 64] = {
    let mut padding = [0u8; 64];
    padding[0] = 0x80;
    padding
};

/// Messages to be hashed, padded and laid one behind another. Many short ones are hashed faster in one go than each
/// as it is put together: the core overlaps them, and none waits for bytes that were only just written.
#[derive(Default)]
pub(crate) struct Batch {
    blocks: Vec<u8>,
    // Where each message ends, in blocks of 64 octets.
    ends: Vec<usize>,
}

impl Batch {
    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Octets that wait, padding included.
    pub(crate) fn octets(&self) -> usize {
        self.blocks.len()
    }

    /// Adds the message `head ‖ body`.
    pub(crate) fn add(&mut self, head: &[u8], body: &[u8]) {
        let len = head.len() + body.len();
        self.blocks.extend_from_slice(head);
        self.blocks.extend_from_slice(body);
        self.blocks.extend_from_slice(&PADDING[..64 - (len + 8) % 64]);
        self.blocks.extend_from_slice(&(len as u64 * 8).to_be_bytes());
        self.ends.push(self.blocks.len() / 64);
    }

    /// Appends the digests of all messages to `out`, in order, and forgets the messages.
    pub(crate) fn digest(&mut self, out: &mut Vec<Hash>) {
        let blocks = self.blocks.as_chunks().0;
        let mut start = 0;
        out.extend(self.ends.iter().map(|&end| compress(&blocks[std::mem::replace(&mut start, end)..end])));
        self.clear();
    }

    /// Forgets the messages.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.ends.clear();
    }
}

/// Nodes that are put together before they are hashed.
const NODES: usize = 16;

/// The message `0x01 ‖ left ‖ right`, padded, where left and right are still zeros.
const NODE: [[u8; 64]; 2] = {
    let mut blocks = [[0u8; 64]; 2];
    blocks[0][0] = 1;
    blocks[1][1] = 0x80;
    [blocks[1][62], blocks[1][63]] = (65u16 * 8).to_be_bytes();
    blocks
};

fn fill_node(node: &mut [[u8; 64]; 2], left: &Hash, right: &Hash) {
    let message = node.as_flattened_mut();
    message[1..33].copy_from_slice(left);
    message[33..65].copy_from_slice(right);
}

/// `SHA256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut node = NODE;
    fill_node(&mut node, left, right);
    compress(&node)
}

/// Replaces `list` by the parents of its pairs; `left`, if there, stands before the first. What has no partner is
/// returned.
fn pair_up(list: &mut Vec<Hash>, left: Option<Hash>) -> Option<Hash> {
    let mut messages = [NODE; NODES];
    let total = list.len() + usize::from(left.is_some());
    let at = |list: &[Hash], index: usize| match left {
        Some(left) if index == 0 => left,
        _ => list[index - usize::from(left.is_some())],
    };
    let alone = (total % 2 == 1).then(|| at(list, total - 1));
    let parents = total / 2;
    for first in (0..parents).step_by(NODES) {
        let count = NODES.min(parents - first);
        for (offset, message) in messages[..count].iter_mut().enumerate() {
            let pair = 2 * (first + offset);
            fill_node(message, &at(list, pair), &at(list, pair + 1));
        }
        // The parents lie before the children that are still needed.
        for (slot, message) in list[first..].iter_mut().zip(&messages[..count]) {
            *slot = compress(message);
        }
    }
    list.truncate(parents);
    alone
}

/// The right edge of a growing tree: the roots of its maximal full subtrees, largest first.
#[derive(Clone, Debug, Default)]
pub struct CompactRange {
    size: u64,
    nodes: Vec<Hash>,
}

impl CompactRange {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the full subtrees, largest first.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Adds leaves, level by level; `list` is empty afterwards. The roots of the aligned subtrees of 256 leaves that
    /// they complete are appended to `complete`.
    pub fn extend(&mut self, list: &mut Vec<Hash>, complete: &mut Vec<Hash>) {
        let (mut edge, mut size) = (Vec::new(), self.size);
        self.size += list.len() as u64;
        for level in 1.. {
            if list.is_empty() {
                break;
            }
            // A bit of the size is a full subtree that waits for its right sibling.
            let left = if size & 1 == 1 { self.nodes.pop() } else { None };
            edge.extend(pair_up(list, left));
            size >>= 1;
            if level == 8 {
                complete.extend_from_slice(list);
            }
        }
        self.nodes.extend(edge.into_iter().rev());
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.extend(&mut vec![leaf], &mut Vec::new());
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(&last) = nodes.next() else { return empty_root() };
        nodes.fold(last, |right, left| node_hash(left, &right))
    }
}

/// Root of a list of leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut range = CompactRange::default();
    range.extend(&mut leaves.to_vec(), &mut Vec::new());
    range.root()
}

/// Largest power of two smaller than `n` (`n >= 2`).
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Audit path of leaf `index` (RFC 6962 §2.1.1); `None` if there is no such leaf.
#[must_use]
pub fn inclusion_path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut part, mut at, mut path) = (leaves, index, Vec::new());
    while part.len() > 1 {
        let (left, right) = part.split_at(split(part.len()));
        if at < left.len() {
            path.push(root(right));
            part = left;
        } else {
            path.push(root(left));
            at -= left.len();
            part = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Root that an audit path leads to; `None` if index, size and path do not fit together.
#[must_use]
pub fn root_of_path(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut fnode, mut snode, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if snode == 0 {
            return None;
        }
        if fnode & 1 == 1 || fnode == snode {
            hash = node_hash(sibling, &hash);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    (snode == 0).then_some(hash)
}

/// True if `leaf` is leaf `index` of the tree of `size` leaves with this root.
#[must_use]
pub fn check_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    root_of_path(leaf, index, size, path).is_some_and(|found| found == *root)
}

/// Consistency proof from the first `old` leaves to all of them (RFC 6962 §2.1.2); `None` unless 0 < old <= n.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let (mut part, mut m, mut whole, mut proof) = (leaves, old, true, Vec::new());
    while m < part.len() {
        let (left, right) = part.split_at(split(part.len()));
        if m <= left.len() {
            proof.push(root(right));
            part = left;
        } else {
            proof.push(root(left));
            m -= left.len();
            part = right;
            whole = false;
        }
    }
    if !whole {
        proof.push(root(part));
    }
    proof.reverse();
    Some(proof)
}

/// True if the tree of `new` leaves with `new_root` extends the tree of `old` leaves with `old_root`.
#[must_use]
pub fn check_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let mut proof = proof.iter();
    let (mut fnode, mut snode) = (old - 1, new - 1);
    let shift = fnode.trailing_ones();
    fnode >>= shift;
    snode >>= shift;
    let first = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(&first) = first else { return false };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in proof {
        if snode == 0 {
            return false;
        }
        if fnode & 1 == 1 || fnode == snode {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    snode == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 6962 §2.1 written down as it stands there.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&naive(left), &naive(right))
            }
        }
    }

    /// The eight inputs and roots that Certificate Transparency implementations share as test vectors.
    #[test]
    fn the_roots_of_the_certificate_transparency_vectors_are_reproduced() {
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|text| leaf_hash(&hex(text))).collect();
        for (size, want) in roots.iter().enumerate() {
            assert_eq!(root(&leaves[..size]).to_vec(), hex(want), "size {size}");
        }
    }

    proptest! {
        #[test]
        fn the_digests_of_a_batch_are_those_of_the_library(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), any::<prop::sample::Index>()), 0..9))
        {
            let (mut batch, mut got) = (Batch::default(), Vec::new());
            for (message, cut) in &messages {
                let (head, body) = message.split_at(cut.index(message.len() + 1));
                batch.add(head, body);
            }
            batch.digest(&mut got);
            let want: Vec<Hash> = messages.iter().map(|(message, _)| Sha256::digest(message).into()).collect();
            prop_assert_eq!((got, batch.len(), batch.octets()), (want, 0, 0));
        }

        #[test]
        fn a_node_is_the_hash_of_its_message(left: [u8; 32], right: [u8; 32]) {
            let want: Hash = Sha256::digest([&[1u8][..], &left, &right].concat()).into();
            prop_assert_eq!(node_hash(&left, &right), want);
        }

        #[test]
        fn proofs_of_every_tree_check_and_altered_ones_do_not(size in 1usize..600, a: prop::sample::Index,
            b: prop::sample::Index, flip: prop::sample::Index)
        {
            let leaves: Vec<Hash> = (0..size as u32).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let whole = root(&leaves);
            prop_assert_eq!(whole, naive(&leaves));
            let index = a.index(size);
            let mut path = inclusion_path(&leaves, index).unwrap();
            let check = |path: &[Hash], at: usize| {
                check_inclusion(&leaves[index], at as u64, size as u64, path, &whole)
            };
            prop_assert!(check(&path, index));
            prop_assert!(!check(&path, index + 1));
            if !path.is_empty() {
                let at = flip.index(path.len());
                path[at][7] ^= 1;
                prop_assert!(!check(&path, index));
            }
            let old = 1 + b.index(size);
            let old_root = naive(&leaves[..old]);
            let mut proof = consistency_proof(&leaves, old).unwrap();
            let holds = |proof: &[Hash]| check_consistency(old as u64, size as u64, &old_root, &whole, proof);
            prop_assert!(holds(&proof));
            if !proof.is_empty() {
                let at = flip.index(proof.len());
                proof[at][31] ^= 0x80;
                prop_assert!(!holds(&proof));
            }
        }

        #[test]
        fn leaves_in_lots_of_any_size_make_the_same_tree(lots in prop::collection::vec(0usize..700, 0..6)) {
            let leaves: Vec<Hash> = (0..lots.iter().sum::<usize>()).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let (mut range, mut told, mut at) = (CompactRange::default(), Vec::new(), 0);
            for lot in lots {
                range.extend(&mut leaves[at..at + lot].to_vec(), &mut told);
                at += lot;
                prop_assert_eq!((range.root(), range.size()), (naive(&leaves[..at]), at as u64));
                prop_assert_eq!(range.nodes().len() as u32, at.count_ones());
            }
            let want: Vec<Hash> = leaves.chunks_exact(256).map(naive).collect();
            prop_assert_eq!(told, want);
        }
    }
}
