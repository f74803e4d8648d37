/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_crypto;
const int rh_placeholder_crypto = 0;
