// transports/connector/thread.h -- threads, where there may be none left.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "core/result.h"

namespace banyan::connector {

// A thread without signals, which are the first thread's. An Error (kResource): the system gives none.
template <class Work>
Result<std::thread> start_thread(Work work, Phase phase) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  int error_number = 0;
  try {
    thread = std::thread(std::move(work));
  } catch (const std::system_error& error) {
    error_number = error.code().value();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error_number == 0) return thread;
  Error error = system_error(ErrorClass::kResource, phase, "a thread", error_number);
  error.remedy = "the limits of processes and of memory (ulimit -u, ulimit -v): raise them, or lower -f";
  return error;
}

}  // namespace banyan::connector
