// cli/becoming.h -- how a context becomes another user: whose password that takes, and who is asked for it.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/targets.h"
#include "parent/recipe.h"
#include "transports/become.h"

namespace banyan::cli {

// `ssh_user`: of -l. Whose password it takes is told from the names alone: "" where ssh decides.
BecomeScope become_scope(const Target& target, const std::string& ssh_user);

class Becoming {
 public:
  // `program`: ours, by a path that every user can follow who may run us.
  Becoming(Loop& loop, BecomeSecrets& secrets, std::string program, std::string ssh_user);

  // What will be started, hops too: before the first start.
  void expect(const std::vector<Target>& targets);
  bool is_expected() const { return is_expected_; }  // any

  // Has the start ask, which `recipe` begins so far without a question. Who answers: null where nobody can be
  // asked. REQUIRES: the target becomes another user.
  // `on_terminal`: by sudo as well, which then has one.
  std::shared_ptr<BecomeAnswerer> let_ask(const Target& target, Recipe& recipe, bool on_terminal);

 private:
  Loop& loop_;
  BecomeSecrets& secrets_;
  const std::string program_, ssh_user_;
  bool is_expected_ = false;
};

}  // namespace banyan::cli
