// core/table.h -- keys to values: what the router finds its way by, fast, and small in the agent.
//
// A hash table. Its hash has a secret of its own, so no peer can choose keys that collide; it is walked in
// the order of insertion, so a simulation with one seed goes one way. Values stay where they are until
// erased, and are destroyed only when the table is right again. Used like a std::map; but a table that is
// const gives access to values that are not.
//
// All but the values is out of line: one table for all types. Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace banyan {

constexpr std::size_t kKeyWord = 4;  // keys are made of so many bytes at a time

// What does not depend on types.
class TableBase {
 public:
  TableBase(const TableBase&) = delete;
  TableBase& operator=(const TableBase&) = delete;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 protected:
  struct Node {  // the key follows it in memory
    Node* earlier;
    Node* later;
    Node* next;  // in its bucket
    std::uint64_t hash;
  };

  explicit TableBase(std::size_t key_bytes) : key_bytes_(key_bytes) {}
  TableBase(TableBase&& other) noexcept
      : key_bytes_(other.key_bytes_),
        size_(std::exchange(other.size_, 0)),
        bucket_count_(std::exchange(other.bucket_count_, 0)),
        buckets_(std::move(other.buckets_)),
        first_(std::exchange(other.first_, nullptr)),
        last_(std::exchange(other.last_, nullptr)),
        secret_(other.secret_) {}
  ~TableBase() = default;
  Node* first() const { return first_; }
  Node* find_node(const void* key) const;
  void insert_node(Node* node);  // REQUIRES: its key is not there
  void remove_node(Node* node);

 private:
  std::uint64_t hash_of(const void* key) const;
  Node** bucket_of(std::uint64_t hash) const { return &buckets_[std::size_t(hash) & (bucket_count_ - 1)]; }
  void resize(std::size_t bucket_count);

  const std::size_t key_bytes_;
  std::size_t size_ = 0;
  std::size_t bucket_count_ = 0;  // 0, or a power of two
  std::unique_ptr<Node*[]> buckets_;
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  std::uint64_t secret_ = 0;
};

struct Nothing {};  // the value of a table that is a set

template <class Key, class Value>
class Table : public TableBase {
  static_assert(std::has_unique_object_representations_v<Key>, "keys are compared and hashed as bytes");
  static_assert(sizeof(Key) % kKeyWord == 0);

  struct Item {
    const Key first;
    Value second;
  };
  struct Entry : Node {
    explicit Entry(const Key& key) : item{key, Value()} {}
    Entry(const Key& key, Value&& value) : item{key, std::move(value)} {}
    Item item;
  };
  static_assert(alignof(Item) <= alignof(Node), "the key follows the node");

 public:
  class Iterator {
   public:
    Item& operator*() const { return entry_->item; }
    Item* operator->() const { return &entry_->item; }
    Iterator& operator++() {
      entry_ = static_cast<Entry*>(entry_->later);
      return *this;
    }
    Iterator operator++(int) {
      const Iterator here = *this;
      ++*this;
      return here;
    }
    bool operator==(const Iterator&) const = default;

   private:
    friend class Table;
    explicit Iterator(Node* node) : entry_(static_cast<Entry*>(node)) {}
    Entry* entry_;
  };

  Table() : TableBase(sizeof(Key)) {}
  Table(Table&& other) noexcept = default;
  ~Table() { clear(); }

  Iterator begin() const { return Iterator(first()); }
  Iterator end() const { return Iterator(nullptr); }
  Iterator find(const Key& key) const { return Iterator(find_node(&key)); }
  bool contains(const Key& key) const { return find_node(&key) != nullptr; }

  // The new entry, or the one that was there, and whether it is new.
  std::pair<Iterator, bool> emplace(const Key& key, Value value) {
    if (Node* found = find_node(&key)) return {Iterator(found), false};
    return {insert(new Entry(key, std::move(value))), true};
  }
  Value& operator[](const Key& key) {
    const Iterator found = find(key);
    return found != end() ? found->second : insert(new Entry(key))->second;
  }

  Iterator erase(Iterator at) {
    const Iterator next(at.entry_->later);
    remove_node(at.entry_);
    delete at.entry_;
    return next;
  }
  bool erase(const Key& key) {
    const Iterator found = find(key);
    if (found == end()) return false;
    erase(found);
    return true;
  }
  void clear() {
    while (!empty()) erase(begin());
  }

 private:
  Iterator insert(Entry* entry) {
    insert_node(entry);
    return Iterator(entry);
  }
};

}  // namespace banyan
