/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_stores_wrap;
const int rh_placeholder_stores_wrap = 0;
