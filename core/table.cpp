#include "core/table.h"

#include <sys/random.h>

#include <cstring>

#include "core/assert.h"

namespace banyan {

namespace {
constexpr std::size_t kFirstBuckets = 8;

// Of fixed size, so that it is one instruction: keys are looked up several times for every frame.
std::uint32_t word_at(const void* key, std::size_t at) {
  std::uint32_t word;
  std::memcpy(&word, static_cast<const char*>(key) + at, sizeof word);
  return word;
}

bool same(const void* a, const void* b, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += kKeyWord)
    if (word_at(a, at) != word_at(b, at)) return false;
  return true;
}
}  // namespace

// The multiplication carries every bit upward, the shift brings it down again to where buckets are chosen.
std::uint64_t TableBase::hash_of(const void* key) const {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  std::uint64_t hash = secret_;
  for (std::size_t at = 0; at < key_bytes_; at += kKeyWord) {
    hash = (hash ^ word_at(key, at)) * kOdd;
    hash ^= hash >> 32;
  }
  return hash;
}

TableBase::Node* TableBase::find_node(const void* key) const {
  if (size_ == 0) return nullptr;
  const std::uint64_t hash = hash_of(key);
  Node* node = *bucket_of(hash);
  while (node != nullptr && (node->hash != hash || !same(node + 1, key, key_bytes_))) node = node->next;
  return node;
}

void TableBase::resize(std::size_t bucket_count) {
  buckets_ = std::make_unique<Node*[]>(bucket_count);
  bucket_count_ = bucket_count;
  for (Node* node = first_; node != nullptr; node = node->later)
    node->next = std::exchange(*bucket_of(node->hash), node);
}

void TableBase::insert_node(Node* node) {
  if (bucket_count_ == 0) {
    ASSERT(::getrandom(&secret_, sizeof secret_, 0) == ssize_t(sizeof secret_));
    resize(kFirstBuckets);
  } else if (size_ == bucket_count_) {
    resize(2 * bucket_count_);
  }
  ++size_;
  node->hash = hash_of(node + 1);
  node->next = std::exchange(*bucket_of(node->hash), node);
  node->earlier = std::exchange(last_, node);
  node->later = nullptr;
  (node->earlier != nullptr ? node->earlier->later : first_) = node;
}

void TableBase::remove_node(Node* node) {
  Node** link = bucket_of(node->hash);
  while (*link != node) link = &(*link)->next;
  *link = node->next;
  (node->earlier != nullptr ? node->earlier->later : first_) = node->later;
  (node->later != nullptr ? node->later->earlier : last_) = node->earlier;
  // Nothing is kept of a crowd that has gone.
  if (--size_ == 0 && bucket_count_ > kFirstBuckets) resize(kFirstBuckets);
}

}  // namespace banyan
