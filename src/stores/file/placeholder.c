/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_stores_file;
const int rh_placeholder_stores_file = 0;
