// core/fair_share.h -- so many of a thing for a link, and for each source no more than it leaves to others.
//
// A link carries what a whole subtree says. If it were first come, first served, one context could have all
// there is, and its siblings, and the hop that passes on what they say, nothing. So a source may have as many
// as are free: alone half of them, beside another a third. Thread: the loop's.
#pragma once

#include <cstdint>

#include "core/frame.h"
#include "core/table.h"

namespace banyan {

class FairShare {
 public:
  // One more for `source`; `of_link` is what its link has. False: there is no room, and nothing is counted.
  bool take(ContextId source, std::uint32_t& of_link, std::uint32_t max);
  // REQUIRES: taken.
  void give_back(ContextId source, std::uint32_t& of_link);

 private:
  friend struct Inspector;  // of tests/simulation
  Table<ContextId, std::uint32_t> of_source_;
};

}  // namespace banyan
