// A context that is a program, as a user's would be: what the tests start, ask, and let detach.
//
// Calls, for ancestors, each with a text and answered with one:
//   600 "PATH"     listens there                     -> "", or what went wrong
//   601 "TIMES"    detaches, so many times at once   -> "asked"
//   602            what came of each                 -> "detached", or what went wrong; with "; " between
//   603            starts a child of the same image  -> its id
//   604 "LINE"     runs that in a shell, as its own  -> the command's process
//   605            writes to its standard error      -> "" if that can be written to
//   606            ends                              -> "ends"
//   607            from now on, told to end, asks its parent to let it go, and does nothing else  -> ""
//   608            asks its parent to let it go, and stays  -> ""
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "parent/command.h"
#include "parent/own_image.h"
#include "parent/unix_client.h"
#include "parent/unix_listener.h"

using namespace banyan;

namespace {

class Program final : private ChildContext::Owner {
 public:
  int run(std::uint64_t nonce) {
    LinkFds link;
    if (!ChildContext::take_standard_link(link)) return 1;
    context_.begin(link, nonce);
    loop_.run();
    listener_.reset();
    commands_.clear();
    context_.stop_services();
    return 0;
  }

 private:
  using Answer = std::string (Program::*)(const Header& call, std::string_view text);

  void on_context_up() override {
    serve(600, &Program::listen);
    serve(601, &Program::detach);
    serve(602, &Program::outcome);
    serve(603, &Program::start_child);
    serve(604, &Program::run_command);
    serve(605, &Program::complain);
    serve(606, &Program::end);
    serve(607, &Program::defy);
    serve(608, &Program::stay);
  }
  void on_context_end(const Error*) override { loop_.stop(); }

  // An empty optional would be a later answer: "later" stands for that.
  void serve(Handle handle, Answer answer) {
    router().add_handler(handle, Access::ancestors(), [this, answer](Incoming& message) {
      const std::string text = (this->*answer)(message.header, as_text(message.payload));
      if (text != kLater) reply(message.header, text);
    });
  }
  void reply(const Header& call, std::string_view text) {
    router().reply(call, Buffer(text.begin(), text.end()));
  }
  Router& router() { return context_.router(); }

  std::string listen(const Header&, std::string_view path) {
    auto opened = UnixListener::open(loop_, router(), context_.ids(), context_.routes(), std::string(path));
    if (!opened) return opened.error().text;
    listener_ = std::move(*opened);
    return {};
  }

  std::string detach(const Header&, std::string_view times) {
    for (char i = '0'; i < times.front(); ++i)
      context_.detach([this](const Result<Done>& result) {
        outcome_ += cat(outcome_.empty() ? "" : "; ", result ? "detached" : result.error().text);
      });
    return "asked";
  }
  std::string outcome(const Header&, std::string_view) { return outcome_; }

  std::string start_child(const Header& call, std::string_view) {
    Recipe recipe;
    recipe.name = "child";
    recipe.method = "local";
    context_.runner().start(
        std::move(recipe),
        [this, call](const Result<Child>& child) {
          reply(call, child ? cat(child->id) : child.error().text);
        },
        [](ContextId, const Error&) {});
    return std::string(kLater);
  }

  std::string run_command(const Header& call, std::string_view line) {
    ExecRequest request;
    request.shell = true;
    request.argv = {std::string(line)};
    Command::Callbacks callbacks;
    callbacks.on_started = [this, call](const ExecStarted& started) { reply(call, cat(started.pid)); };
    commands_.push_back(
        std::make_unique<Command>(router(), router().id(), std::move(request), std::move(callbacks)));
    return std::string(kLater);
  }

  std::string complain(const Header&, std::string_view) {
    return ::write(2, "hm\n", 3) == 3 ? "" : "standard error leads nowhere";
  }

  std::string end(const Header&, std::string_view) {
    context_.end();
    return "ends";
  }

  std::string defy(const Header&, std::string_view) {
    router().on_shutdown = [this](Nanos) {
      router().send_control(router().config().ancestors.front(), kDetaching, {});
    };
    return {};
  }

  std::string stay(const Header&, std::string_view) {
    router().send_control(router().config().ancestors.front(), kDetaching, {});
    return {};
  }

  static constexpr std::string_view kLater = "later";
  EpollLoop loop_;
  OwnImage images_;
  ChildContext context_{loop_, images_, *this, nullptr};
  std::unique_ptr<UnixListener> listener_;
  std::list<std::unique_ptr<Command>> commands_;
  std::string outcome_;
};

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_NAME, "banyan-context");
  ::signal(SIGTERM, SIG_DFL);
  Program program;
  return program.run(argc > 1 ? parse_hex(argv[1]) : 0);
}
