// core/id_set.h -- ranges of context ids: what was granted to whom.
//
// Grants come mostly in rows, so a handful of ranges holds thousands of ids. Thread: the owner's.
#pragma once

#include <cstdint>
#include <vector>

#include "core/result.h"

namespace banyan {

struct IdRange {
  ContextId first = 0;
  std::uint32_t count = 0;

  bool contains(ContextId id) const { return id - first < count; }
  // Whether it is one that may exist: not empty, without the root, not beyond the last id.
  bool is_sound() const { return count > 0 && first > 0 && count - 1 <= UINT32_MAX - first; }
  bool operator==(const IdRange&) const = default;
};

class IdSet {
 public:
  // REQUIRES: sound, and none of it is there yet.
  void add(IdRange range);
  bool contains(ContextId id) const;
  bool overlaps(IdRange range) const;
  std::uint64_t count() const { return count_; }

 private:
  friend struct Inspector;                      // of tests/simulation
  std::size_t first_after(ContextId id) const;  // index of the first range that begins beyond `id`

  std::vector<IdRange> ranges_;  // sorted, apart from each other
  std::uint64_t count_ = 0;
};

}  // namespace banyan
