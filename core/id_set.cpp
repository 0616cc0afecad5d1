#include "core/id_set.h"

#include "core/assert.h"

namespace banyan {

std::size_t IdSet::first_after(ContextId id) const {
  std::size_t low = 0, high = ranges_.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (ranges_[middle].first <= id)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool IdSet::contains(ContextId id) const {
  const std::size_t after = first_after(id);
  return after > 0 && ranges_[after - 1].contains(id);
}

bool IdSet::overlaps(IdRange range) const {
  const ContextId last = range.first + (range.count - 1);
  const std::size_t after = first_after(last);
  return after > 0 && ranges_[after - 1].first + (ranges_[after - 1].count - 1) >= range.first;
}

void IdSet::add(IdRange range) {
  ASSERT(range.is_sound() && !overlaps(range));
  count_ += range.count;
  const std::size_t at = first_after(range.first);
  const bool joins_earlier = at > 0 && ranges_[at - 1].first + ranges_[at - 1].count == range.first;
  const bool joins_later = at < ranges_.size() && range.first + range.count == ranges_[at].first;
  if (joins_earlier) {
    ranges_[at - 1].count += range.count;
    if (joins_later) {
      ranges_[at - 1].count += ranges_[at].count;
      ranges_.erase(ranges_.begin() + std::ptrdiff_t(at));
    }
  } else if (joins_later) {
    ranges_[at].first = range.first;
    ranges_[at].count += range.count;
  } else {
    ranges_.insert(ranges_.begin() + std::ptrdiff_t(at), range);
  }
}

}  // namespace banyan
