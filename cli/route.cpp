#include "cli/route.h"

#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::uint16_t kSshPort = 22;

Error refused(std::string_view text, std::string_view remedy) {
  return Error{ErrorClass::kIo, Phase::kResolve, text, remedy};
}

// So ssh calls it, and goes no further.
bool leads_back(const SshSettings& settings, const SshJump& jump) {
  return jump.host == settings.hostname && (jump.port == 0 ? kSshPort : jump.port) == settings.port &&
         (jump.user.empty() || jump.user == settings.user);
}

class Search : public std::enable_shared_from_this<Search> {
 public:
  Search(SshQuestions& questions, Function<void(Result<Route>)> on_route)
      : questions_(questions), on_route_(std::move(on_route)) {}

  void ask(RouteStep step) {
    const SshTarget asked = step.asked;
    const SshOptions options = step.options;
    questions_.ask(
        asked, options,
        [self = shared_from_this(), step = std::move(step)](const SshQuestions::Answer& answer) mutable {
          self->on_answer(std::move(step), answer);
        });
  }

 private:
  void on_answer(RouteStep step, const SshQuestions::Answer& answer) {
    if (!answer) {
      Error error = answer.error();
      if (step.is_jump) error.text = cat("jump ", step.asked.name, ": ", error.text);
      return finish(std::move(error));
    }
    step.settings = *answer;
    route_.insert(route_.begin(), std::move(step));
    const RouteStep& first = route_.front();
    const SshSettings& settings = *first.settings;
    if (settings.proxy_jump.empty()) return finish(std::move(route_));
    auto jumps = parse_proxy_jump(settings.proxy_jump);
    if (!jumps)
      return finish(refused(cat("ProxyJump ", settings.proxy_jump, " is not a list of hosts"),
                            "write user@host:port, with commas between them"));
    if (route_.size() > kSshJumpsMax)
      return finish(refused(cat("more than ", kSshJumpsMax, " jumps"),
                            "see whether a ProxyJump of ssh's configuration leads back to itself"));
    const SshJump last = std::move(jumps->back());
    jumps->pop_back();
    if (leads_back(settings, last))
      return finish(refused(cat("jumphost loop via ", last.host),
                            "a jump host is not reached through itself: name it alone, or ProxyJump none"));
    RouteStep next;
    next.asked = {text_of(last), last.user, last.host, last.port};
    // What ssh tells the ssh of a jump: which configuration to read, and the jumps before it.
    next.options.config_file = first.options.config_file;
    for (const SshJump& before : *jumps)
      next.options.jumps += cat(next.options.jumps.empty() ? "" : ",", text_of(before));
    next.is_jump = true;
    next.is_by_option = !first.options.jumps.empty() && (!first.is_jump || first.is_by_option);
    ask(std::move(next));
  }

  void finish(Result<Route> route) {
    const auto on_route = std::move(on_route_);
    on_route(std::move(route));
  }

  SshQuestions& questions_;
  Function<void(Result<Route>)> on_route_;
  Route route_;  // as far as it is known
};

}  // namespace

std::vector<BackEndStep> back_end_steps(SshFacts& facts, const Route& route) {
  std::vector<BackEndStep> steps;
  for (const RouteStep& step : route) steps.push_back({step.asked.name, facts.about(*step.settings)});
  return steps;
}

void ask_for_route(SshQuestions& questions, const SshTarget& target, const SshOptions& options,
                   Function<void(Result<Route>)> on_route) {
  std::make_shared<Search>(questions, std::move(on_route))
      ->ask({.asked = target, .options = options, .settings = {}});
}

}  // namespace banyan::cli
