// bootstrap/agent.h -- the shipped program: a context with the built-in services, on the far end of a link.
//
// Of two kinds, which differ in the images they can have (parent/image.h): agent.cpp and hop.cpp.
//
// Started by the loader or by its parent with the link as standard input and output and its nonce as
// argument. It says hello, becomes who its parent says, serves, and ends with its link: whatever ends that
// link, the commands it runs and the contexts beneath it are ended, and nothing is left behind.

#pragma once

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "parent/child_context.h"

namespace banyan {

// `Images`: an ImageStore, or what converts to one, with a pointer `kTransports`, as for Runner, and
// begin(Router&), for when the context is up.
template <class Images>
class Agent final : private ChildContext::Owner {
 public:
  int run(std::uint64_t nonce) {
    LinkFds link;
    if (!ChildContext::take_standard_link(link)) return 1;
    watch_signals();
    context_.begin(link, nonce);
    loop_.run();
    context_.stop_services();
    return 0;
  }

 private:
  void on_context_up() override { images_.begin(context_.router()); }
  void on_context_end(const Error*) override { loop_.stop(); }

  void watch_signals() {
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) ::sigaddset(&ours, signal);
    ::sigprocmask(SIG_BLOCK, &ours, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    signals_ = Fd(::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return;
    loop_.watch(signals_.get(), {.read = true}, [this](Ready) {
      signalfd_siginfo signal;
      if (loop_.read(signals_.get(), reinterpret_cast<std::uint8_t*>(&signal), sizeof signal).status ==
          IoResult::Status::kOk) {
        context_.logger().log(LogLevel::kWarning, cat("ending: signal ", signal.ssi_signo));
        context_.end();
      }
    });
  }

  EpollLoop loop_;
  Fd signals_;
  Images images_;
  ChildContext context_{loop_, images_, *this, Images::kTransports};
};

// What main() does.
template <class Images>
[[noreturn]] void run_agent(int argc, char** argv) {
  // A session of our own: a Ctrl-C at somebody's terminal is not for us, the root passes it on as a message.
  ::setsid();
  ::prctl(PR_SET_NAME, "banyan-agent");
  const std::uint64_t nonce = argc > 1 ? parse_hex(argv[1]) : 0;
  // Never destroyed: what it holds ends with the process.
  auto* agent = new Agent<Images>;
  ::_exit(agent->run(nonce));
}

}  // namespace banyan
