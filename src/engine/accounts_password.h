/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accounts_password.h -- random texts, for accounts.c alone.
 */
#ifndef ENGINE_ACCOUNTS_PASSWORD_H
#define ENGINE_ACCOUNTS_PASSWORD_H

#include "base/compiler.h"

#include <stddef.h>

/* 64 signs that need no escape in a URL or an INI file. */
#define ACCOUNTS_PASSWORD_KEY_SIGNS                                            \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
/* 32 signs that people do not mistake for each other. */
#define ACCOUNTS_PASSWORD_SIGNS "abcdefghijkmnpqrstuvwxyz23456789"

/* Fill `size` - 1 bytes with random signs of `signs`, whose number is a power
 * of two, and the zero byte. */
void accounts_password_random(char *ret_text, size_t size, const char *signs)
    NONNULL(1, 3);

#endif
