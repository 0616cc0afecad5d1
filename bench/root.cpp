#include "bench/root.h"

#include "bench/measure.h"

namespace banyan::bench {

namespace {
constexpr Nanos kFarewell = 2 * kSecond;
}

Root::Root()
    : router_(loop_, RouterConfig{.id = 0, .sideways = Sideways::kVertical, .ancestors = {}, .inbox = {}}),
      connectors_(loop_, beside_us("../banyan-connector")),
      ids_(router_, kAllIds),
      routes_(router_, ids_),
      runner_(loop_, router_, embedded_images(), ids_, routes_) {}

Root::Times Root::bring_up(std::vector<Recipe> recipes,
                           const std::function<void(const std::vector<Child>&)>& while_up) {
  Times times;
  std::size_t unanswered = recipes.size();
  std::vector<Child> children;
  const double began = now_us();
  for (Recipe& recipe : recipes) {
    auto on_up = [&](Result<Child> child) {
      if (!child) die(child.error().text + ": " + child.error().remedy);
      times.hello = now_us() - began;
      times.bytes_sent += child->bytes_sent;
      children.push_back(*child);
      router_.call(child->id, kInfo, {}, [&](const Reply& reply) {
        if (reply.dead != nullptr) die("a new context answered dead: " + reply.dead->text);
        times.answered = now_us() - began;
        if (--unanswered == 0) loop_.stop();
      });
    };
    runner_.start(std::move(recipe), on_up, {});
  }
  loop_.run();
  if (while_up) while_up(children);
  const double asked = now_us();
  end_all();
  times.gone = times.answered + now_us() - asked;
  return times;
}

void Root::end_all() {
  runner_.shut_down_all(kFarewell, [this] { loop_.stop(); });
  loop_.run();
}

}  // namespace banyan::bench
