// tests/end_to_end/hostile_scene.h -- a run of the real program in which some contexts are taken over
// (tests/support/impostor.h), and three beside them, all above them, and one elsewhere, are honest and must
// not notice: each runs a command, whose outcome and more than a hundred kilobytes of whose output must
// arrive.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"
#include "tests/support/impostor.h"
#include "tests/support/slack.h"

namespace banyan::test {

enum class Place {
  kBeneathRoot,    // children of the program itself
  kBeneathAgent,   // children of an agent, which routes for them
  kBeneathAgents,  // children of an agent's child
};
constexpr Place kPlaces[] = {Place::kBeneathRoot, Place::kBeneathAgent, Place::kBeneathAgents};

class Scene {
 public:
  static constexpr std::size_t kHonest = 3;

  Scene(Place place, std::size_t hostile, const Words& options = {})
      : place_(place), hostile_(hostile), program(arguments(place, hostile, options)) {
    const auto all_are_up = [this](const std::string& out, const std::string&) {
      return count_of(out, "\"data\":\"up ") == names_.size();
    };
    REQUIRE(program.wait_until(all_are_up));
    for (const nlohmann::json& event : events(program.out())) {
      const std::string target = event.at("target");
      if (event.at("event") == "start") contexts_[target].id = event.at("context");
      if (event.at("event") != "out") continue;
      // It says its parent, which is the guard; above that is the agent.
      contexts_[target].agent = parent_of(std::atoi(event.at("data").get<std::string>().c_str() + 3));
    }
    for (std::size_t i = 0; i < hostile; ++i) {
      const Context& context = contexts_.at(names_[i]);
      impostors_.push_back(std::make_unique<Impostor>(context.agent, context.id));
    }
    peak_at_first_ = peak_kib(program.pid());
    hop_ = place == Place::kBeneathRoot ? 0 : parent_of(contexts_.at(names_[0]).agent);
    hop_peak_at_first_ = hop_ > 0 ? peak_kib(hop_) : 0;
  }
  ~Scene() { ::unlink(go_.c_str()); }

  Impostor& operator[](std::size_t i) { return *impostors_[i]; }
  const std::string& name(std::size_t i) const { return names_[i]; }
  ContextId parent() const { return place_ == Place::kBeneathRoot ? 0 : contexts_.at(hops().back()).id; }
  // All between them and the root, from above.
  std::vector<ContextId> hop_ids() const {
    std::vector<ContextId> ids;
    for (const std::string& hop : hops()) ids.push_back(contexts_.at(hop).id);
    return ids;
  }
  ContextId sibling(std::size_t i = 0) const { return contexts_.at(names_[hostile_ + i]).id; }
  ContextId elsewhere() const { return contexts_.at(names_.back()).id; }

  // The honest commands say the rest, and end.
  void let_them_finish() { Fd(::open(go_.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0600)); }
  bool honest_have_finished() {
    return program.wait_until(
        [this](const std::string& out, const std::string&) { return have_all_exited(out); });
  }
  // The same without waiting, to be asked while an attack goes on.
  bool have_honest_finished_meanwhile() {
    program.look();
    return have_all_exited(program.out());
  }

  // How each target ended: its failure, or its exit with all it said.
  struct Ending {
    std::string error_class, error, out;
    int code = -1;
    int endings = 0;
  };
  std::map<std::string, Ending> finish() {
    let_them_finish();
    CHECK(honest_have_finished());
    root_growth_ = peak_kib(program.pid()) - peak_at_first_;
    if (hop_ > 0) hop_growth_ = peak_kib(hop_) - hop_peak_at_first_;
    for (auto& impostor : impostors_) impostor->end();
    const Finished finished = program.finish();
    code = finished.code;
    err = finished.err;
    std::map<std::string, Ending> endings;
    for (const nlohmann::json& event : events(finished.out)) {
      if (event.at("event") == "summary") continue;
      Ending& ending = endings[event.at("target")];
      if (event.at("event") == "out") ending.out += event.at("data");
      if (event.at("event") == "exit") ending.code = event.at("code");
      if (event.at("event") == "fail") {
        ending.error_class = event.at("class");
        ending.error = event.at("error");
      }
      ending.endings += event.at("event") == "fail" || event.at("event") == "exit";
    }
    return endings;
  }
  // After finish(): the honest ones said all, and nothing else, and what was done to them cost bounded
  // memory.
  void check_honest(const std::map<std::string, Ending>& endings, long growth_max_kib = 4'096) {
    INFO(err);
    CHECK(code == 4);  // some are lost: the hostile ones
    for (std::size_t i = hostile_; i < names_.size(); ++i) {
      const Ending& ending = endings.at(names_[i]);
      CAPTURE(names_[i], ending.error);
      CHECK(ending.code == 0);
      CHECK(ending.endings == 1);
      CHECK(ending.out.substr(ending.out.find('\n') + 1) == all_they_say());
    }
    CAPTURE(root_growth_, hop_growth_);
    if (kMemoryIsOurs) CHECK(root_growth_ < growth_max_kib);
    CHECK(hop_growth_ < growth_max_kib);
  }

 private:
  struct Context {
    ContextId id = 0;
    pid_t agent = 0;
  };

  static std::string go_file() {
    static int serial = 0;
    return cat(std::string_view(std::getenv("TMPDIR")), "/go-", ++serial);
  }
  // More than a first window, and more than two.
  static std::string all_they_say() {
    std::string text;
    for (int i = 1; i <= 1'500; ++i) {
      const std::string number = cat(i);
      text += std::string(100 - number.size(), '0') + number + "\n";
    }
    return text + "end\n";
  }
  bool have_all_exited(const std::string& out) const {
    return count_of(out, "\"event\":\"exit\"") >= names_.size() - hostile_;
  }
  std::vector<std::string> hops() const {
    if (place_ == Place::kBeneathRoot) return {};
    if (place_ == Place::kBeneathAgent) return {"local"};
    return {"local", "local/local"};
  }
  Words arguments(Place place, std::size_t hostile, const Words& options) {
    std::string targets;
    const std::string above = place == Place::kBeneathRoot ? "" : hops().back() + "/";
    for (std::size_t i = 1; i <= hostile + kHonest; ++i) names_.push_back(cat(above, "local", i));
    for (const std::string& hop : hops()) names_.push_back(hop);
    for (const std::string& honest_or_not : names_) targets += honest_or_not + ",";
    names_.push_back("local9999");
    Words words = {"run", targets + names_.back(), "--json", "-f", "500"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c",
                               cat("echo up $PPID; until [ -e ", go_,
                                   " ]; do sleep 0.05; done; seq -f %0100g 1 1500; echo end")});
    return words;
  }
  static std::vector<nlohmann::json> events(const std::string& out) {
    std::vector<nlohmann::json> all;
    for (const std::string& line : lines_of(out)) {
      all.push_back(nlohmann::json::parse(line, nullptr, false));
      if (all.back().is_discarded()) all.pop_back();  // the last one has not come as a whole
    }
    return all;
  }

  const Place place_;
  const std::size_t hostile_;
  const std::string go_ = go_file();
  std::vector<std::string> names_;
  std::map<std::string, Context> contexts_;
  std::vector<std::unique_ptr<Impostor>> impostors_;
  pid_t hop_ = 0;
  long peak_at_first_ = 0, hop_peak_at_first_ = 0, root_growth_ = 0, hop_growth_ = 0;

 public:
  Program program;
  int code = 0;
  std::string err;
};

}  // namespace banyan::test
