#pragma once
/* The plain SHA-256 calls: OpenSSL 3 marks them deprecated in favour of EVP, which reads its configuration file and loads
   a provider first. That takes longer than the whole of `colophon trace`, for the same code in the end. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>
