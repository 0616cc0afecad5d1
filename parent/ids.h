// parent/ids.h -- the ids a context may give away: a range, used from the bottom, never twice.
#pragma once

#include <cstdint>
#include <optional>

#include "core/result.h"

namespace banyan {

struct IdRange {
  ContextId first = 0;
  std::uint32_t count = 0;
};

constexpr IdRange kAllIds{1, UINT32_MAX - 1};  // the root's; 0 is the root itself
constexpr std::uint32_t kFirstGrant = 16;      // ids a new context gets with its identity

class IdAllocator {
 public:
  explicit IdAllocator(IdRange range) : left_(range) {}

  // `count` ids in a row; nothing when the range does not hold that many.
  std::optional<IdRange> take(std::uint32_t count) {
    if (count == 0 || count > left_.count) return std::nullopt;
    const IdRange taken{left_.first, count};
    left_.first += count;
    left_.count -= count;
    return taken;
  }
  std::uint32_t left() const { return left_.count; }

 private:
  IdRange left_;
};

}  // namespace banyan
