// cli/tree.h -- the verb `tree`: who is there, what it is, how far away and how large.
//
// Thread: the loop's.
#pragma once

#include <vector>

#include "cli/draw.h"
#include "cli/inquiry.h"

namespace banyan::cli {

class Tree final : public Inquiry {
 public:
  Tree(const Machinery& machinery, OnOver on_over);

 private:
  void start_work(Index index, const Child& child) override;
  void on_answer(Index index, const ContextInfo& info, Nanos quickest) override;
  void report() override;

  std::vector<ContextFacts> contexts_;
  std::vector<bool> has_answered_;
};

}  // namespace banyan::cli
