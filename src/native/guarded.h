// Exceptions as messages, which Rust can take.
#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Calls body; gives nullptr, or a message that the caller hands back to f3_free_message.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an unknown C++ exception");
  }
}
