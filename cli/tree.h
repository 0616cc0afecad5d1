// cli/tree.h -- the verb `tree`: who is there, what it is, how far away and how large.
//
// Thread: the loop's.
#pragma once

#include <map>
#include <vector>

#include "cli/draw.h"
#include "cli/inquiry.h"

namespace banyan::cli {

class Tree final : public Inquiry {
 public:
  Tree(const Machinery& machinery, OnOver on_over);

 private:
  void start_work(Index index, const Child& child) override;
  void on_answer(Index index, ContextId context, const ContextInfo& info, Nanos quickest) override;
  void report() override;
  void note(const Child& child);

  std::map<ContextId, ContextFacts> contexts_;   // of which something is known
  std::vector<std::vector<ContextId>> on_path_;  // of each target, itself last
};

}  // namespace banyan::cli
